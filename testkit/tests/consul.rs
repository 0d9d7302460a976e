//! Consul: what the tests of others lean on.

use leasehold_testkit::consul::Consul;

#[test]
fn a_server_that_was_killed_comes_back_with_its_data() {
    let consul = Consul::builder().durable().start().unwrap();
    consul.ctl(["kv", "put", "key", "value"]).unwrap();
    consul.kill().unwrap();
    consul.ctl(["kv", "get", "key"]).unwrap_err();
    consul.restart().unwrap();
    assert_eq!(consul.ctl(["kv", "get", "key"]).unwrap(), "value\n");
    assert_eq!(consul.keys("").unwrap(), ["key"]);
    assert_eq!(consul.key("key").unwrap().unwrap()["Value"], "dmFsdWU=");
    assert_eq!(consul.key("other").unwrap(), None);
    assert!(consul.is_leader().unwrap());
}

#[test]
fn tokens_allow_what_they_allow() {
    let consul = Consul::builder().tokens().start().unwrap();
    let token = consul.token(r#"key_prefix "mine/" { policy = "write" }"#).unwrap();
    let put = |key: &str| consul.ctl(["kv", "put", &format!("-token={token}"), key, "value"]);
    put("mine/key").unwrap();
    assert!(put("other/key").unwrap_err().to_string().contains("Permission denied"));
    assert_eq!(consul.keys("").unwrap(), ["mine/key"]);
    assert!(consul.url().starts_with("consul://:"));
}

#[test]
fn tls_wants_a_certificate() {
    let consul = Consul::builder().tls().start().unwrap();
    let certificates = consul.certificates().unwrap();
    let (cert, key) = certificates.client();
    let mut command = consul.ctl_command().unwrap();
    command.args(["kv", "put", "key", "value"]);
    command.env("CONSUL_HTTP_ADDR", format!("https://{}", consul.tls_addr()));
    command.env("CONSUL_CACERT", certificates.authority());
    assert!(!command.output().unwrap().status.success(), "it shows none");
    command.env("CONSUL_CLIENT_CERT", cert).env("CONSUL_CLIENT_KEY", key);
    assert!(command.output().unwrap().status.success());
    assert_eq!(consul.keys("").unwrap(), ["key"]);
}

#[test]
fn requests_are_counted() {
    let consul = Consul::builder().log_requests().start().unwrap();
    let before = consul.requests("PUT", "/v1/session/create");
    let session = consul.session(10).unwrap();
    assert_eq!(consul.requests("PUT", "/v1/session/create"), before + 1);
    assert_eq!(consul.sessions().unwrap(), [session]);
}

#[test]
fn a_leader_that_is_killed_or_paused_is_replaced() {
    let cluster = Consul::builder().start_cluster().unwrap();
    let first = cluster.leader().unwrap();
    first.ctl(["kv", "put", "key", "value"]).unwrap();
    first.kill().unwrap();
    let second = cluster.leader_after(first).unwrap();
    second.await_ready().unwrap();
    assert_eq!(second.ctl(["kv", "get", "key"]).unwrap(), "value\n");
    first.restart().unwrap();
    second.pause().unwrap();
    let third = cluster.leader_after(second).unwrap();
    third.await_ready().unwrap();
    assert_eq!(third.ctl(["kv", "get", "key"]).unwrap(), "value\n");
    second.resume().unwrap();
    second.await_ready().unwrap();
    assert_eq!(cluster.followers().unwrap().len(), 2);
    assert_eq!(cluster.url().matches(',').count(), 2);
}
