// SPDX-License-Identifier: Apache-2.0
//! Makes an OCI spec of a [`ContainerSpec`]: here the defaults are applied and the mistakes found.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{
    BoxBuilder, Capability, Linux, LinuxCapabilities, LinuxCpu, LinuxMemory, LinuxNamespace,
    LinuxNamespaceType, LinuxPids, LinuxResources, Mount as OciMount, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType, Process, Root, Spec, User,
};
use rustix::process::{Resource, getrlimit};
use serde_json::Value;
use shimkeeper_core::Mount;

use crate::oci::rootfs::{Node, Rootfs};
use crate::oci::user::Identity;
use crate::oci::{BuildError, ContainerSpec, Network, capability, defaults, user};

/// The version of the specification that every runtime in use understands.
const OCI_VERSION: &str = "1.0.2";

/// What of the host a spec depends on; apart, so that tests can choose it.
#[derive(Debug)]
struct Host {
    unified_cgroups: bool,
    capabilities: Vec<Capability>,
    /// The hard limit of this process; raising it takes a privilege that root of a container may lack.
    open_files: u64,
}

pub(crate) fn to_json(container: &ContainerSpec) -> Result<Vec<u8>, BuildError> {
    let host = Host {
        unified_cgroups: unified_cgroups(),
        capabilities: capability::available(),
        open_files: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
    };
    let spec = assemble(container, &host)?;
    let mut value = serde_json::to_value(&spec).expect("every path was checked to be UTF-8");
    sort_capabilities(&mut value);
    Ok(serde_json::to_vec(&value).expect("a JSON value can be written"))
}

fn assemble(container: &ContainerSpec, host: &Host) -> Result<Spec, BuildError> {
    absolute("root filesystem", &container.rootfs)?;
    let rootfs = Rootfs::open(&container.rootfs).map_err(|source| BuildError::Rootfs { source })?;
    let mut root = Root::default();
    root.set_path(container.rootfs.clone()).set_readonly(Some(container.read_only));

    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned())
        .set_root(Some(root))
        .set_process(Some(process(container, &rootfs, host)?))
        .set_hostname(hostname(container)?)
        .set_mounts(Some(mounts(container, &rootfs)?))
        .set_annotations(Some(container.annotations.clone().into_iter().collect::<HashMap<_, _>>()))
        .set_linux(Some(linux(container, host)?));
    Ok(spec)
}

fn process(container: &ContainerSpec, rootfs: &Rootfs, host: &Host) -> Result<Process, BuildError> {
    if container.args.first().is_none_or(String::is_empty) {
        return Err(BuildError::NoCommand);
    }
    no_zero_byte("command", &container.args)?;
    absolute("working directory", &container.cwd)?;
    let text = container.user.as_deref().unwrap_or("0:0");
    let identity =
        user::resolve(rootfs, text).map_err(|source| BuildError::User { user: text.to_owned(), source })?;
    let names = (&container.add_capabilities, &container.drop_capabilities);
    let capabilities = capability::resolve(names.0, names.1, &host.capabilities)
        .map_err(|source| BuildError::Capability { source })?;
    let console_size = container.console_size.filter(|_| container.terminal).map(oci_size);

    let mut process = Process::default();
    process
        .set_terminal(Some(container.terminal))
        .set_console_size(console_size)
        .set_args(Some(container.args.clone()))
        .set_env(Some(environment(container)?))
        .set_cwd(container.cwd.clone())
        .set_capabilities(Some(capability_sets(capabilities, identity.uid)))
        .set_user(oci_user(identity))
        .set_no_new_privileges(Some(container.no_new_privileges))
        .set_rlimits(Some(vec![open_files(container.open_files, host)?]));
    Ok(process)
}

fn oci_size((rows, columns): (u16, u16)) -> oci_spec::runtime::Box {
    let size = BoxBuilder::default().height(rows).width(columns);
    size.build().expect("every field is set")
}

fn oci_user(identity: Identity) -> User {
    let mut user = User::default();
    user.set_uid(identity.uid)
        .set_gid(identity.gid)
        .set_additional_gids(Some(identity.additional_gids.into_iter().collect()));
    user
}

/// As after an execve(2): only root has them in effect, others may gain them through a file. None is inheritable,
/// which would let any file with inheritable capabilities raise them (CVE-2022-24769).
fn capability_sets(capabilities: Vec<Capability>, uid: u32) -> LinuxCapabilities {
    let bounding: HashSet<_> = capabilities.into_iter().collect();
    let in_effect = if uid == 0 { bounding.clone() } else { HashSet::new() };
    let mut sets = LinuxCapabilities::default();
    sets.set_permitted(Some(in_effect.clone()))
        .set_effective(Some(in_effect))
        .set_bounding(Some(bounding))
        .set_inheritable(None)
        .set_ambient(None);
    sets
}

fn open_files(asked: Option<(u64, u64)>, host: &Host) -> Result<PosixRlimit, BuildError> {
    let (soft, hard) = asked.unwrap_or_else(|| {
        let (soft, hard) = defaults::OPEN_FILES;
        (soft.min(host.open_files), hard.min(host.open_files))
    });
    if soft > hard {
        return Err(BuildError::Limit {
            what: "open files",
            allowed: "the soft one is at most the hard one",
        });
    }
    let limit = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(soft).hard(hard);
    Ok(limit.build().expect("every field is set"))
}

/// Defaults first, then what was asked for; the last value of a key takes the place of the first.
fn environment(container: &ContainerSpec) -> Result<Vec<String>, BuildError> {
    no_zero_byte("environment", &container.env)?;
    let mut variables = vec![("PATH", format!("PATH={}", defaults::PATH))];
    if container.terminal {
        variables.push(("TERM", format!("TERM={}", defaults::TERM)));
    }
    for text in &container.env {
        let key = text.split_once('=').map(|(key, _)| key).filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| BuildError::Environment { text: text.clone() })?;
        match variables.iter_mut().find(|(known, _)| *known == key) {
            Some((_, value)) => value.clone_from(text),
            None => variables.push((key, text.clone())),
        }
    }
    Ok(variables.into_iter().map(|(_, variable)| variable).collect())
}

fn hostname(container: &ContainerSpec) -> Result<Option<String>, BuildError> {
    let Some(name) = &container.hostname else { return Ok(None) };
    no_zero_byte("host name", std::slice::from_ref(name))?;
    if name.is_empty() || name.len() > 64 {
        return Err(BuildError::Hostname { name: name.clone() });
    }
    Ok(Some(name.clone()))
}

fn mounts(container: &ContainerSpec, rootfs: &Rootfs) -> Result<Vec<OciMount>, BuildError> {
    for mount in &container.mounts {
        absolute("mount target", Path::new(&mount.target))?;
        if is_bind(mount) {
            absolute("mount source", Path::new(&mount.source))?;
        }
        no_zero_byte("mount", &[&mount.kind, &mount.source, &mount.target])?;
        no_zero_byte("mount", &mount.options)?;
    }
    let asked = |target: &Path| container.mounts.iter().any(|mount| normal(&mount.target) == target);
    let default = defaults::MOUNTS.into_iter().map(|(target, kind, source, options)| Mount {
        kind: kind.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        options: options.iter().map(ToString::to_string).collect(),
    });
    let mut mounts: Vec<Mount> = default
        .chain(resolver_files(container, rootfs)?)
        .filter(|mount| !asked(&normal(&mount.target)))
        .collect();
    mounts.extend(container.mounts.iter().cloned());
    // A mount made later hides what is below its target; so the deeper ones come last.
    mounts.sort_by_key(|mount| normal(&mount.target).components().count());
    Ok(mounts.into_iter().map(oci_mount).collect())
}

/// With the host's network come the host's answers to who is who in it.
fn resolver_files(container: &ContainerSpec, rootfs: &Rootfs) -> Result<Vec<Mount>, BuildError> {
    let has_etc = rootfs.node(Path::new("/etc")).map_err(|source| BuildError::Rootfs { source })?;
    if container.network != Network::Host || has_etc != Node::Directory {
        return Ok(Vec::new());
    }
    let files = ["/etc/hosts", "/etc/resolv.conf"].into_iter().filter(|file| Path::new(file).is_file());
    Ok(files
        .map(|file| Mount {
            kind: "bind".to_owned(),
            source: file.to_owned(),
            target: file.to_owned(),
            options: ["rbind", "ro"].map(str::to_owned).into(),
        })
        .collect())
}

fn is_bind(mount: &Mount) -> bool {
    mount.kind == "bind" || mount.options.iter().any(|option| option == "bind" || option == "rbind")
}

/// Without doubled and trailing slashes, so that equal targets compare equal.
fn normal(target: &str) -> PathBuf {
    Path::new(target).components().filter(|part| *part != Component::CurDir).collect()
}

fn oci_mount(mount: Mount) -> OciMount {
    let mut oci = OciMount::default();
    oci.set_destination(mount.target.into())
        .set_typ(Some(mount.kind))
        .set_source(Some(mount.source.into()))
        .set_options(Some(mount.options));
    oci
}

fn linux(container: &ContainerSpec, host: &Host) -> Result<Linux, BuildError> {
    let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    if let Some(path) = &container.cgroups_path {
        no_zero_byte("cgroup path", std::slice::from_ref(path))?;
    }
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(container.network, host)))
        .set_resources(Some(resources(container)?))
        .set_cgroups_path(container.cgroups_path.clone().map(PathBuf::from))
        .set_masked_paths(Some(strings(&defaults::MASKED_PATHS)))
        .set_readonly_paths(Some(strings(&defaults::READONLY_PATHS)));
    Ok(linux)
}

fn namespaces(network: Network, host: &Host) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType as T;
    let mut kinds = vec![T::Pid, T::Ipc, T::Uts, T::Mount];
    if network == Network::None {
        kinds.push(T::Network);
    }
    // On the older hierarchies runtimes bind-mount the container's own groups instead.
    if host.unified_cgroups {
        kinds.push(T::Cgroup);
    }
    let namespace = |kind| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace
    };
    kinds.into_iter().map(namespace).collect()
}

fn resources(container: &ContainerSpec) -> Result<LinuxResources, BuildError> {
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(defaults::device_rules()));
    if let Some(bytes) = container.memory_bytes {
        let limit = i64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
        let allowed = "at least 1 byte and less than 8 exbibytes";
        let limit = limit.ok_or(BuildError::Limit { what: "memory", allowed })?;
        // Only this one: asking for a swap limit fails where the kernel does not account for swap.
        let mut memory = LinuxMemory::default();
        memory.set_limit(Some(limit));
        resources.set_memory(Some(memory));
    }
    if let Some(millicpus) = container.millicpus {
        let quota_us = u64::from(millicpus) * defaults::CPU_PERIOD_US / 1000;
        let quota = i64::try_from(quota_us).ok().filter(|quota| *quota >= 1000);
        let allowed = "at least 0.01 processors";
        let quota = quota.ok_or(BuildError::Limit { what: "processor", allowed })?;
        let mut cpu = LinuxCpu::default();
        cpu.set_quota(Some(quota)).set_period(Some(defaults::CPU_PERIOD_US));
        resources.set_cpu(Some(cpu));
    }
    if let Some(limit) = container.pids {
        if limit == 0 {
            return Err(BuildError::Limit { what: "process", allowed: "at least 1" });
        }
        let mut pids = LinuxPids::default();
        pids.set_limit(limit.into());
        resources.set_pids(Some(pids));
    }
    Ok(resources)
}

fn absolute(what: &'static str, path: &Path) -> Result<(), BuildError> {
    let Some(text) = path.to_str() else {
        return Err(BuildError::NotUtf8 { what, path: path.to_owned() });
    };
    no_zero_byte(what, &[text])?;
    if path.is_absolute() { Ok(()) } else { Err(BuildError::NotAbsolute { what, path: path.to_owned() }) }
}

fn no_zero_byte(what: &'static str, texts: &[impl AsRef<str>]) -> Result<(), BuildError> {
    let has_zero_byte = |text: &str| text.contains('\0');
    let spoilt = texts.iter().any(|text| has_zero_byte(text.as_ref()));
    if spoilt { Err(BuildError::ZeroByte { what }) } else { Ok(()) }
}

/// The sets are hash sets; sorted, the same container gives the same bytes every time.
fn sort_capabilities(spec: &mut Value) {
    let sets = spec.pointer_mut("/process/capabilities").and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(serde_json::Map::values_mut) {
        if let Value::Array(names) = set {
            names.sort_unstable_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
}

/// Whether the host has the one unified hierarchy of control groups, and only that.
fn unified_cgroups() -> bool {
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    rustix::fs::statfs("/sys/fs/cgroup")
        .is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(CGROUP2_SUPER_MAGIC))
}

#[cfg(test)]
mod tests;
