//! The table, its gates, and what a switch changes.

use super::*;

fn backend(id: &str) -> Backend {
    let (server_key, tls) = (mysql::ServerKey::default(), mysql::Tls::default());
    Backend { id: id.into(), host: "127.0.0.1".into(), port: 1, server_key, tls }
}

fn routing() -> Routing {
    let schemas = [("orders", "a"), ("catalog", "a"), ("Third", "c")];
    let schemas = schemas.map(|(name, cluster)| (name.to_owned(), backend(cluster))).into();
    let users = [(b"reports".to_vec(), backend("c"))].into();
    Routing::new(backend("a"), Routes { schemas, users }, 1, 10)
}

fn orders() -> Scope {
    Scope::Schemas(vec![b"orders".as_slice().into()])
}

fn leads(routing: &Routing) -> [String; 4] {
    let table = routing.table();
    ["other", "ORDERS", "catalog", "third"]
        .map(|schema| table.of_schema(schema.as_bytes()).unwrap().backend.id.clone())
}

fn cross(routing: &Routing, scope: &Scope, next: &str, epoch: u64) -> Result<(), DoorError> {
    routing.hold(scope);
    routing.of_scope(scope).gate.set_drained();
    let switched = routing.switch(scope, backend(next), epoch);
    routing.release(scope);
    switched
}

#[test]
fn a_scope_switches_alone_and_everything_takes_what_is_on_the_same_cluster() {
    let routing = routing();
    assert_eq!(leads(&routing), ["a", "a", "a", "c"]);
    assert!(routing.table().of_schema(b"MySQL").is_none());
    cross(&routing, &orders(), "b", 1).unwrap();
    assert_eq!(leads(&routing), ["a", "b", "a", "c"]);
    cross(&routing, &Scope::Everything, "d", 1).unwrap();
    assert_eq!(leads(&routing), ["d", "b", "d", "c"]);
    cross(&routing, &orders(), "a", 2).unwrap();
    assert_eq!(leads(&routing), ["d", "a", "d", "c"]);
    assert_eq!(routing.version(), 4);
    assert_eq!(routing.gates().len(), 4);
    assert_eq!(routing.table().of_user(b"reports").unwrap().backend.id, "c");
}

#[test]
fn only_what_is_held_and_drained_switches_and_only_forward() {
    let routing = routing();
    let scope = orders();
    assert!(routing.switch(&scope, backend("b"), 1).is_err());
    routing.hold(&scope);
    assert!(routing.switch(&scope, backend("b"), 1).is_err());
    routing.of_scope(&scope).gate.set_drained();
    // Drained for another scope of the same cluster.
    assert!(routing.switch(&Scope::Everything, backend("b"), 1).is_err());
    routing.switch(&scope, backend("b"), 1).unwrap();
    let (a, b) = (routing.gate_of(&backend("a")), routing.gate_of(&backend("b")));
    assert!(a.held() && b.held(), "who comes after the switch waits for the release too");
    assert!(routing.switch(&scope, backend("a"), 1).is_err());
    routing.release(&scope);
    assert!(!a.held() && !b.held());
    assert!(cross(&routing, &scope, "a", 1).is_err());
}

#[test]
fn two_scopes_of_one_cluster_are_held_at_the_same_time() {
    let routing = routing();
    let catalog = Scope::Schemas(vec![b"catalog".as_slice().into()]);
    routing.hold(&orders());
    routing.hold(&orders());
    routing.hold(&catalog);
    let a = routing.gate_of(&backend("a"));
    a.set_drained();
    routing.switch(&orders(), backend("b"), 1).unwrap();
    routing.release(&orders());
    assert!(a.is_drained());
    routing.switch(&catalog, backend("b"), 1).unwrap();
    routing.release(&catalog);
    assert!(!a.held());
    assert_eq!(leads(&routing), ["a", "b", "b", "c"]);
}
