//! Writes by the server's own parts: the same way as everybody's, under names of their own.

use std::sync::Arc;

use serde_json::Value;

use crate::decode::Decoded;
use crate::object::delete::{self, DeleteOptions, Deletion};
use crate::object::update::{Change, update};
use crate::object::{Outcome, Write, WriteOptions, create};
use crate::registry::Kind;
use crate::server::Inner;
use crate::status::Status;
use crate::user::{MASTERS, User};

/// One of the server's own parts.
pub(crate) struct Actor {
    user: User,
    name: &'static str,
}

impl Actor {
    /// The part of this name, which becomes user and field manager.
    pub(crate) fn new(name: &'static str) -> Actor {
        let mut user = User::service_account("kube-system", name);
        user.groups.push(MASTERS.to_owned());
        Actor { user, name }
    }

    fn write<'a>(
        &'a self,
        server: &'a Inner,
        kind: &'a Arc<Kind>,
        namespace: Option<&'a str>,
        subresource: Option<&'a str>,
    ) -> Write<'a> {
        Write {
            server,
            kind,
            namespace,
            subresource,
            user: &self.user,
            options: WriteOptions::internal(self.name),
        }
    }

    /// Creates an object.
    pub(crate) async fn create(
        &self,
        server: &Inner,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        object: Value,
    ) -> Result<Outcome, Status> {
        let write = self.write(server, kind, namespace, None);
        create::create(
            &write,
            Decoded {
                value: object,
                duplicates: Vec::new(),
            },
        )
        .await
    }

    /// Changes an object.
    pub(crate) async fn update(
        &self,
        server: &Inner,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        change: &(dyn Fn(Value) -> Result<Value, Status> + Sync),
    ) -> Result<Outcome, Status> {
        let write = self.write(server, kind, namespace, subresource);
        update(&write, name, Change::With(change)).await
    }

    /// Deletes an object.
    pub(crate) async fn delete(
        &self,
        server: &Inner,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deletion, Status> {
        let write = self.write(server, kind, namespace, None);
        delete::delete(&write, name, options, &mut Vec::new()).await
    }
}
