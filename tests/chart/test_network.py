"""Network policies limit connections to and from the pods."""

import pytest
from kit import objects, sets


def test_network_policy_limits_ingress_and_egress():
    policy = objects()["NetworkPolicy/m-meshgate"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    namespaces = [
        (rule["ports"][0]["port"], expression["values"])
        for rule in policy["ingress"]
        for source in rule["from"]
        if "namespaceSelector" in source
        for expression in source["namespaceSelector"]["matchExpressions"]
    ]
    assert namespaces == [("http", ["ingress-nginx"]), ("metrics", ["monitoring"])]
    assert not outside(policy)
    policy = objects("--set", "storage.url=s3://b")["NetworkPolicy/m-meshgate"]["spec"]
    [rule] = outside(policy)
    assert "169.254.0.0/16" in rule["to"][0]["ipBlock"]["except"]
    for component in ("redis", "redis-jobs"):
        redis = objects()[f"NetworkPolicy/m-meshgate-{component}"]["spec"]
        assert redis["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component
        [rule] = redis["ingress"]
        assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "server"
        assert redis["egress"] == [] and rule["ports"] == [{"port": "redis"}]


def test_pods_reach_only_the_bundled_redis_servers():
    def reached(*values: str) -> list[str]:
        policy = objects(*sets(*values))["NetworkPolicy/m-meshgate"]["spec"]
        targets = [target for rule in policy["egress"] for target in rule["to"] if "podSelector" in target]
        return [target["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for target in targets]

    assert reached() == ["redis", "redis-jobs"]
    assert reached("redis.enabled=false") == ["redis-jobs"]
    assert reached("externalRedisJobs.url=redis://jobs:6379") == ["redis"]


def outside(policy: dict) -> list[dict]:
    """The rules that allow connections to any address."""
    return [rule for rule in policy["egress"] if any("ipBlock" in target for target in rule["to"])]


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        (["storage.url=gs://b"], {443}),
        (["webhooks.existingSecret=w", "externalRedisJobs.url=redis://jobs:6381/0"], {443, 6381}),
        (["externalRedisJobs.url=rediss://jobs", "externalRedis.host=c", "externalRedis.port=6380"], {6379, 6380}),
        (["externalRedis.host=c", "externalRedis.port=6380"], {6380}),
        (["externalRedis.url=rediss://c:6390/0"], {6390}),
        (["externalRedis.url=redis://c"], {6379}),
        (
            ["storage.url=s3://b", "config.AWS_ENDPOINT_URL=http://minio:9000", "config.AWS_ALLOW_HTTP=true"],
            {443, 9000},
        ),
        (["redis.enabled=false", "networkPolicy.egressPorts={6379}"], {6379}),
        (["config.OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317"], {4317}),
        (["storage.url=s3://b", "networkPolicy.egressPorts={8443}"], {443, 8443}),
    ],
)
def test_network_policy_opens_the_needed_egress_ports(values, ports):
    found = objects(*sets(*values))
    [rule] = outside(found["NetworkPolicy/m-meshgate"]["spec"])
    assert {each["port"] for each in rule["ports"]} == ports


def test_network_policy_admits_load_balancers_and_gateways():
    def let_in(*values: str) -> list[dict]:
        found = objects(*sets(*values))
        rules = found["NetworkPolicy/m-meshgate"]["spec"]["ingress"]
        return [rule for rule in rules if rule["ports"] == [{"port": "http"}]]

    assert all(rule["from"] for rule in let_in())
    assert [rule for rule in let_in("service.type=LoadBalancer") if "from" not in rule]
    route = ["httpRoute.enabled=true", "httpRoute.parentRefs[0].name=g", "httpRoute.parentRefs[0].namespace=gateways"]
    [rule] = let_in(*route)
    assert rule["from"][0]["namespaceSelector"]["matchExpressions"][0]["values"] == ["ingress-nginx", "gateways"]


def components(policy: dict, direction: str, peers: str) -> list[str]:
    """The components of this release that a policy names in its rules."""
    selectors = [each["podSelector"] for rule in policy[direction] for each in rule[peers] if "podSelector" in each]
    return [selector["matchLabels"]["app.kubernetes.io/component"] for selector in selectors]


def test_only_prometheus_connects_to_workers():
    distributed = ["mode=distributed", "storage.url=s3://b"]
    policy = objects(*sets(*distributed, "service.type=NodePort", "networkPolicy.extraIngress[0].ports[0].port=1"))
    policy = policy["NetworkPolicy/m-meshgate-worker"]["spec"]
    [rule] = policy["ingress"]
    assert rule["ports"] == [{"port": "metrics"}]
    assert rule["from"][0]["namespaceSelector"]["matchExpressions"][0]["values"] == ["monitoring"]
    found = objects(*sets(*distributed), "--set-json", "networkPolicy.metricsNamespaces=[]")
    assert found["NetworkPolicy/m-meshgate-worker"]["spec"]["ingress"] == []


def test_each_role_reaches_redis_and_the_store():
    jobs = ["kubernetesJobs.mode=auto", "webhooks.existingSecret=w", "networkPolicy.egressPorts={8443}"]
    found = objects(*sets("mode=distributed", "storage.url=s3://b", *jobs))
    ports = {}
    for role in ("gateway", "worker", "job"):
        policy = found[f"NetworkPolicy/m-meshgate-{role}"]["spec"]
        assert components(policy, "egress", "to") == ["redis", "redis-jobs"], role
        [rule] = outside(policy)
        assert "169.254.0.0/16" in rule["to"][0]["ipBlock"]["except"], role
        ports[role] = {each["port"] for each in rule["ports"]}
    # Only workers ask the Kubernetes API.
    assert ports == {"gateway": {443, 8443}, "worker": {443, 6443, 8443}, "job": {443, 8443}}
    for name in ("redis", "redis-jobs"):
        policy = found[f"NetworkPolicy/m-meshgate-{name}"]["spec"]
        assert components(policy, "ingress", "from") == ["gateway", "worker", "job"], name


def test_nobody_connects_to_pods_of_kubernetes_jobs():
    found = objects(*sets("mode=distributed", "storage.url=s3://b", "kubernetesJobs.mode=always"))
    assert found["NetworkPolicy/m-meshgate-job"]["spec"]["ingress"] == []
    assert "NetworkPolicy/m-meshgate-job" not in objects(*sets("mode=distributed", "storage.url=s3://b"))


def test_the_test_pod_reaches_gateways():
    found = objects(*sets("mode=distributed", "storage.url=s3://b"))
    assert "test" in components(found["NetworkPolicy/m-meshgate-gateway"]["spec"], "ingress", "from")
    assert components(found["NetworkPolicy/m-meshgate-test"]["spec"], "egress", "to") == ["gateway"]
