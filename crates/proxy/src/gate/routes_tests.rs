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
    let party = |users: &[&str], schema: &str, cluster| {
        let schemas = vec![schema.to_owned()];
        Party { users: names(users), schemas, backend: backend(cluster) }
    };
    let parties = vec![party(&["app", "app_jobs"], "App", "a"), party(&["mail"], "mail", "c")];
    Routing::new(backend("a"), Routes { schemas, users, parties }, 1, 10)
}

fn names(users: &[&str]) -> BTreeSet<Vec<u8>> {
    users.iter().map(|user| user.as_bytes().to_vec()).collect()
}

fn orders() -> Scope {
    Scope::Schemas(vec![b"orders".as_slice().into()])
}

fn leads(routing: &Routing) -> [String; 4] {
    let table = routing.table();
    ["other", "ORDERS", "catalog", "third"]
        .map(|schema| table.of_schema(schema.as_bytes()).unwrap().backend.id.clone())
}

/// The clusters of the accounts: of a party, of another, and with a rule.
fn users_lead(routing: &Routing) -> [String; 4] {
    let table = routing.table();
    ["app", "app_jobs", "mail", "reports"]
        .map(|user| table.of_user(user.as_bytes()).unwrap().backend.id.clone())
}

fn drain(routing: &Routing, scope: &Scope) {
    routing.gates_of(scope).iter().for_each(|gate| gate.set_drained());
}

fn cross(routing: &Routing, scope: &Scope, next: &str, epoch: u64) -> Result<(), DoorError> {
    routing.hold(scope);
    drain(routing, scope);
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
    // Four clusters; each has a gate for either party too.
    assert_eq!(routing.gates().len(), 4 * 3);
    // A party that was there goes along; who has a rule stays.
    assert_eq!(users_lead(&routing), ["d", "d", "c", "c"]);
    let apart: BTreeSet<_> = routing.gates().iter().map(|gate| gate.pool.serial).collect();
    assert_eq!(apart.len(), 4, "gates before one cluster have one pool");
}

#[test]
fn a_party_switches_alone_and_only_its_own_gates_are_held() {
    let routing = routing();
    let (app, mail) = (Scope::Users(0), Scope::Users(1));
    assert_eq!(routing.table().party(&names(&["app_jobs", "app"])), Some(0));
    assert_eq!(routing.table().party(&names(&["app"])), None);
    assert_eq!(routing.table().party(&names(&["reports"])), None);
    assert!(routing.switch(&app, backend("b"), 1).is_err());
    routing.hold(&app);
    assert!(routing.switch(&app, backend("b"), 1).is_err());
    let held = |routing: &Routing| {
        let gates = routing.gates();
        let held = gates.iter().filter(|gate| gate.held());
        held.map(|gate| (gate.backend.id.clone(), gate.party)).collect::<Vec<_>>()
    };
    assert_eq!(held(&routing), [("a".to_owned(), Some(0))]);
    drain(&routing, &app);
    assert!(routing.switch(&Scope::Everything, backend("b"), 1).is_err(), "drained for the party alone");
    routing.switch(&app, backend("b"), 1).unwrap();
    assert_eq!(held(&routing), [("a".to_owned(), Some(0)), ("b".to_owned(), Some(0))]);
    routing.release(&app);
    assert_eq!(held(&routing), []);
    assert_eq!(users_lead(&routing), ["b", "b", "c", "c"]);
    // Its schema is with it, and everybody else is led where everything is.
    let table = routing.table();
    let place = |schema: &[u8]| table.place_of(schema).map(|gate| gate.backend.id.clone());
    assert_eq!(place(b"aPP").as_deref(), Some("b"));
    assert_eq!((place(b"orders").as_deref(), place(b"other")), (Some("a"), None));
    assert!(table.gone(b"app").is_some() && table.gone(b"mail").is_some() && table.gone(b"third").is_none());
    assert_eq!(table.of_schema(b"app").unwrap().backend.id, "a");
    assert_eq!(leads(&routing), ["a", "a", "a", "c"]);
    assert_eq!((routing.of_scope(&app).epoch, routing.of_scope(&mail).epoch), (1, 0));
    assert!(cross(&routing, &app, "a", 1).is_err());
    cross(&routing, &app, "a", 2).unwrap();
    assert!(routing.table().gone(b"app").is_none());
    assert_eq!(users_lead(&routing), ["a", "a", "c", "c"]);
}

#[test]
fn a_schema_that_leaves_holds_the_parties_on_its_cluster_too() {
    let routing = routing();
    routing.hold(&orders());
    let a = routing.gate_of(&backend("a"));
    a.set_drained();
    assert!(routing.switch(&orders(), backend("b"), 1).is_err(), "the parties' gates are not drained");
    drain(&routing, &orders());
    // One that crosses meanwhile has drained its own.
    routing.hold(&Scope::Users(0));
    routing.switch(&Scope::Users(0), backend("b"), 1).unwrap();
    routing.switch(&orders(), backend("b"), 1).unwrap();
    routing.release(&Scope::Users(0));
    let (app, all) = (routing.gates_of(&Scope::Users(0)), routing.gates_of(&orders()));
    assert!(app[0].held() && all.len() == 3 && all.iter().all(|gate| gate.held()));
    routing.release(&orders());
    assert!(routing.gates().iter().all(|gate| !gate.held()));
}

#[test]
fn only_what_is_held_and_drained_switches_and_only_forward() {
    let routing = routing();
    let scope = orders();
    assert!(routing.switch(&scope, backend("b"), 1).is_err());
    routing.hold(&scope);
    assert!(routing.switch(&scope, backend("b"), 1).is_err());
    drain(&routing, &scope);
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
    drain(&routing, &catalog);
    routing.switch(&orders(), backend("b"), 1).unwrap();
    routing.release(&orders());
    assert!(a.is_drained());
    routing.switch(&catalog, backend("b"), 1).unwrap();
    routing.release(&catalog);
    assert!(!a.held());
    assert_eq!(leads(&routing), ["a", "b", "b", "c"]);
}
