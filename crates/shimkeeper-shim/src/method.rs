// SPDX-License-Identifier: Apache-2.0
//! What a call to a shim is made of, whichever service it belongs to; and how a service's table of calls becomes
//! methods of [`Connection`](crate::Connection).

use prost::Message;

use crate::TaskApi;

/// One call of a service of shims.
pub(crate) trait Method {
    /// Its name in the service.
    const NAME: &'static str;
    /// Its path over gRPC.
    const GRPC_PATH: &'static str;
    /// What is asked.
    type Request: Message;
    /// What is answered; `()` is the empty message.
    type Response: Message + Default;
    /// The full name of the service, at a shim that speaks this Task API.
    fn service(api: TaskApi) -> &'static str;
}

/// What a method is called on the wires.
#[derive(Debug)]
pub(crate) struct MethodName {
    /// The full name of the service.
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    /// Over gRPC.
    pub(crate) path: &'static str,
}

macro_rules! api_methods {
    (
        $service:expr, $path:literal;
        $($(#[$doc:meta])* $function:ident = $name:ident($request:ty) -> $response:ty;)*
    ) => {
        /// One type per call.
        mod method {
            $(#[derive(Debug)] pub(super) enum $name {})*
        }

        $(impl $crate::method::Method for method::$name {
            const NAME: &'static str = stringify!($name);
            const GRPC_PATH: &'static str = concat!("/", $path, "/", stringify!($name));
            type Request = $request;
            type Response = $response;
            fn service(api: $crate::TaskApi) -> &'static str {
                $service(api)
            }
        })*

        impl $crate::Connection {
            $($(#[$doc])*
            pub async fn $function(
                &self,
                call: &$crate::Call,
                request: &$request,
            ) -> Result<$response, $crate::CallError> {
                self.call::<method::$name>(call, request).await
            })*
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$(<method::$name as $crate::method::Method>::NAME),*];
    };
}

pub(crate) use api_methods;
