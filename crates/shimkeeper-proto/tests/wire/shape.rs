// SPDX-License-Identifier: Apache-2.0
//! What of a descriptor is visible on the wire, in a form that can be compared and printed. Stateless.
//!
//! Comments, file names, order and language options are not visible there and are left out.

use std::collections::BTreeMap;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MessageOptions, ServiceDescriptorProto,
};

/// Members of a message, enum or service by number or name, each described in one line.
pub(crate) type Members = BTreeMap<String, String>;

/// Everything in a set of files, by full name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shapes(pub(crate) BTreeMap<String, Members>);

impl Shapes {
    /// Describes all files of `set`.
    pub(crate) fn of(set: &FileDescriptorSet) -> Self {
        let mut shapes = Self::default();
        for file in &set.file {
            shapes.add_file(file);
        }
        shapes
    }

    /// The shapes of one package, without those of packages below it.
    pub(crate) fn in_package(&self, package: &str, set: &FileDescriptorSet) -> Self {
        let files = set.file.iter().filter(|file| file.package() == package).cloned();
        let names = Self::of(&FileDescriptorSet { file: files.collect() });
        Self(self.0.iter().filter(|(name, _)| names.0.contains_key(*name)).map(clone_pair).collect())
    }

    /// All names and references with `from` at their start or inside replaced by `to`.
    pub(crate) fn renamed(&self, from: &str, to: &str) -> Self {
        let rename = |text: &str| text.replace(from, to);
        let members =
            |members: &Members| members.iter().map(|(key, line)| (key.clone(), rename(line))).collect();
        Self(self.0.iter().map(|(name, shape)| (rename(name), members(shape))).collect())
    }

    fn add_file(&mut self, file: &FileDescriptorProto) {
        let proto3 = file.syntax() == "proto3";
        for message in &file.message_type {
            self.add_message(file.package(), message, proto3);
        }
        for item in &file.enum_type {
            self.add_enum(file.package(), item);
        }
        for service in &file.service {
            self.0.insert(format!("{}.{}", file.package(), service.name()), methods(service));
        }
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto, proto3: bool) {
        let name = format!("{scope}.{}", message.name());
        for nested in &message.nested_type {
            self.add_message(&name, nested, proto3);
        }
        for nested in &message.enum_type {
            self.add_enum(&name, nested);
        }
        let mut members: Members =
            message.field.iter().map(|field| (number(field), describe(field, message, proto3))).collect();
        if message.options.as_ref().is_some_and(MessageOptions::map_entry) {
            members.insert("kind".into(), "map entry".into());
        }
        self.0.insert(name, members);
    }

    fn add_enum(&mut self, scope: &str, item: &EnumDescriptorProto) {
        let values =
            item.value.iter().map(|value| (value.name().to_owned(), format!("= {}", value.number())));
        self.0.insert(format!("{scope}.{}", item.name()), values.collect());
    }
}

fn clone_pair((name, members): (&String, &Members)) -> (String, Members) {
    (name.clone(), members.clone())
}

/// Numbers padded so that they sort.
fn number(field: &FieldDescriptorProto) -> String {
    format!("{:>9}", field.number())
}

fn describe(field: &FieldDescriptorProto, message: &DescriptorProto, proto3: bool) -> String {
    let mut line = format!("{:?} {:?}", field.label(), field.r#type());
    if let Some(name) = &field.type_name {
        line.push_str(name);
    }
    line.push(' ');
    line.push_str(field.name());
    if let Some(index) = field.oneof_index {
        let index = usize::try_from(index).expect("an index is not negative");
        line.push_str(" in ");
        line.push_str(message.oneof_decl[index].name());
    }
    if field.proto3_optional() {
        line.push_str(" explicit");
    }
    if packed(field, proto3) {
        line.push_str(" packed");
    }
    line
}

fn packed(field: &FieldDescriptorProto, proto3: bool) -> bool {
    let scalar = !matches!(field.r#type(), Type::String | Type::Bytes | Type::Message | Type::Group);
    let asked = field.options.as_ref().and_then(|options| options.packed);
    field.label() == Label::Repeated && scalar && asked.unwrap_or(proto3)
}

fn methods(service: &ServiceDescriptorProto) -> Members {
    let describe = |streaming: bool, name: &str| format!("{}{name}", if streaming { "stream " } else { "" });
    let methods = service.method.iter().map(|method| {
        let input = describe(method.client_streaming(), method.input_type());
        let output = describe(method.server_streaming(), method.output_type());
        (method.name().to_owned(), format!("{input} -> {output}"))
    });
    methods.collect()
}
