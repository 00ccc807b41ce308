"""Values that would install but not work, lose data or expose secrets are refused."""

import re

import pytest
from kit import HELMS, refusal, sets

DISTRIBUTED = ["mode=distributed", "storage.url=s3://b"]
JOBS = [*DISTRIBUTED, "kubernetesJobs.mode=auto"]
REFUSED = {
    "pods without a shared store": (["replicaCount=2"], "set storage.url .* or persistence.accessModes"),
    "pods without a store at all": (["replicaCount=2", "persistence.enabled=false"], "set storage.url"),
    "an autoscaler without a shared store": (["autoscaling.enabled=true"], "6 pods need a shared store"),
    "pods without Redis": (
        ["replicaCount=2", "storage.url=s3://b", "redis.enabled=false"],
        "set redis.enabled to true",
    ),
    "pods without a shared Redis for jobs": (
        ["replicaCount=2", "storage.url=s3://b", "redisJobs.enabled=false"],
        "set redisJobs.enabled to true, or externalRedisJobs.url",
    ),
    "an autoscaler without a shared Redis for jobs": (
        ["storage.url=s3://b", "redisJobs.enabled=false", "keda.enabled=true"],
        "6 pods need one Redis for jobs",
    ),
    "two autoscalers": (["autoscaling.enabled=true", "keda.enabled=true"], "only one may set the number of pods"),
    "bucket credentials without a bucket": (["storage.existingSecret=s"], "set storage.url to the bucket"),
    "a secret in config": (["config.API_KEYS=a:b"], "set apiKeys.existingSecret"),
    "a webhook secret in config": (["config.WEBHOOK_SECRET=whsec_x"], "set webhooks.existingSecret"),
    "a cloud secret in config": (["config.AWS_SECRET_ACCESS_KEY=b"], "is a secret, and many can read values"),
    "a password in a URL": (["externalRedis.url=redis://:secret@cache"], "set externalRedis.existingSecret"),
    "a password in the URL of jobs": (
        ["externalRedisJobs.url=redis://:secret@jobs"],
        "set externalRedisJobs.existingSecret",
    ),
    "a Redis for jobs in config": (["config.JOBS_REDIS_URL=redis://jobs"], "set externalRedisJobs.url"),
    "a password for jobs in config": (["config.JOBS_REDIS_PASSWORD=a"], "set externalRedisJobs.existingSecret"),
    "a password for jobs without a Redis": (["externalRedisJobs.existingSecret=s"], "set externalRedisJobs.url"),
    "a bundled secret for an external Redis of jobs": (
        ["externalRedisJobs.url=redis://jobs", "redisJobs.existingSecret=s"],
        "set externalRedisJobs.existingSecret",
    ),
    "a secret for a Redis of jobs that is off": (
        ["redisJobs.enabled=false", "redisJobs.existingSecret=s"],
        "remove one of them",
    ),
    "a CA of jobs without TLS": (
        ["externalRedisJobs.url=redis://jobs", "externalRedisJobs.caSecret=s"],
        "set externalRedisJobs.url to rediss://HOST:PORT",
    ),
    "an unknown appendfsync": (["redisJobs.appendfsync=no"], "appendfsync"),
    "two Redis": (["externalRedis.url=redis://a", "externalRedis.host=a"], "set one of them"),
    "a setting in config that is a chart value": (["config.WORKERS=3"], "config.WORKERS is a chart value: set workers"),
    "too little memory per worker": (["workerMemoryLimit=1Gi"], "set it to 1536Mi at least"),
    "a memory limit below one conversion": (["resources.limits.memory=512Mi"], "Set it to 2560Mi at least"),
    "a memory limit below one conversion, in bytes": (["resources.limits.memory=1G"], "Set it to 2560Mi at least"),
    "a disk limit below the upload limit": (["maxFileSize=4Gi"], "set it to 16384Mi at least"),
    "a port in use": (["metrics.port=5000"], "set another one"),
    "an invalid service name": (["fullnameOverride=3d"], "begins with a lower-case letter"),
    "a changed selector label": (
        ["podLabels.app\\.kubernetes\\.io/component=web"],
        "remove it from podLabels and commonLabels",
    ),
    "a bind address in config": (["config.BIND_ADDRESS=0.0.0.0:8080"], "remove it"),
    "minReplicas above maxReplicas": (
        ["storage.url=s3://b", "autoscaling.enabled=true", "guaranteed=true", "autoscaling.minReplicas=8"],
        "autoscaling.minReplicas is 8, more than",
    ),
    "an autoscaler on small requests": (
        ["storage.url=s3://b", "autoscaling.enabled=true"],
        "set guaranteed to true, or resources.requests.cpu",
    ),
    "a Redis password without a Redis": (
        ["externalRedis.existingSecret=s"],
        "set externalRedis.url or externalRedis.host",
    ),
    "a bundled Redis secret for an external Redis": (
        ["externalRedis.host=c", "redis.existingSecret=s"],
        "set externalRedis.existingSecret",
    ),
    "a removed value": (["workers=null"], "workers"),
    "a removed nested value": (["image.repository=null"], "repository"),
    "a Redis CA without TLS": (
        ["externalRedis.host=c", "externalRedis.caSecret=s"],
        "set externalRedis.url to rediss://HOST:PORT",
    ),
    "a password with a slash": (["externalRedis.url=redis://:se/cret@c"], "set externalRedis.existingSecret"),
    "keys in the bucket's URL": (["storage.url=s3://AKIA:secret@b"], "set storage.existingSecret"),
    "a password in an endpoint": (
        ["storage.url=s3://b", "config.AWS_ENDPOINT_URL=http://u:p@minio:9000"],
        "holds a password",
    ),
    "a store without TLS": (
        ["storage.url=s3://b", "config.AWS_ENDPOINT_URL=http://minio:9000"],
        "or config.AWS_ALLOW_HTTP to true",
    ),
    "a path that the server does not serve": (
        [
            "ingress.hosts[0].host=a",
            "ingress.hosts[0].paths[0].path=/mesh",
            "ingress.hosts[0].paths[0].pathType=Prefix",
        ],
        "the server does not serve /mesh",
    ),
    "credentials in headers": (["config.OTEL_EXPORTER_OTLP_HEADERS=Authorization=x"], "is a secret"),
    "a route without a gateway": (["httpRoute.enabled=true"], "set httpRoute.parentRefs"),
    "an unknown mode": (["mode=both"], "mode"),
    "gateways and workers without a shared store": (["mode=distributed"], "gateways and workers need a shared store"),
    "gateways and workers without Redis": (
        [*DISTRIBUTED, "redis.enabled=false"],
        "gateways and workers need one Redis, .* set redis.enabled to true",
    ),
    "gateways and workers without a Redis for jobs": (
        [*DISTRIBUTED, "redisJobs.enabled=false"],
        "gateways and workers need one Redis for jobs",
    ),
    "server pods in distributed mode": ([*DISTRIBUTED, "replicaCount=3"], "set gateway.replicas and worker.replicas"),
    "resources of server pods in distributed mode": (
        [*DISTRIBUTED, "resources.limits.cpu=2"],
        "set gateway.resources and worker.resources",
    ),
    "an autoscaler of server pods in distributed mode": (
        [*DISTRIBUTED, "autoscaling.enabled=true", "guaranteed=true"],
        "set worker.autoscaling.enabled or keda.enabled",
    ),
    "an autoscaler of workers in standalone mode": (
        ["worker.autoscaling.enabled=true"],
        "worker.autoscaling.enabled .* set mode to distributed",
    ),
    "two autoscalers of workers": (
        [*DISTRIBUTED, "worker.autoscaling.enabled=true", "keda.enabled=true", "guaranteed=true"],
        "worker.autoscaling.enabled and keda.enabled are both true",
    ),
    "an autoscaler of workers on small requests": (
        [*DISTRIBUTED, "worker.autoscaling.enabled=true"],
        "set guaranteed to true, or worker.resources.requests.cpu",
    ),
    "an autoscaler of gateways on small requests": (
        [*DISTRIBUTED, "gateway.autoscaling.enabled=true"],
        "only 100m by default: set guaranteed to true, or gateway.resources.requests.cpu",
    ),
    "more workers at least than at most": (
        [*DISTRIBUTED, "worker.autoscaling.enabled=true", "guaranteed=true", "worker.autoscaling.minReplicas=9"],
        "worker.autoscaling.minReplicas is 9, more than worker.autoscaling.maxReplicas",
    ),
    "a memory limit of workers below one conversion": (
        [*DISTRIBUTED, "worker.resources.limits.memory=512Mi"],
        "worker.resources.limits.memory is 512Mi, .* Set it to 2560Mi at least",
    ),
    "Kubernetes Jobs of server pods": (["storage.url=s3://b", "kubernetesJobs.mode=auto"], "set mode to distributed"),
    "Kubernetes Jobs with a claim": (
        ["mode=distributed", "persistence.accessModes={ReadWriteMany}", "kubernetesJobs.mode=auto"],
        "kubernetesJobs.mode is auto, .* set storage.url",
    ),
    "Kubernetes Jobs with a claim of one pod": (
        ["mode=distributed", "kubernetesJobs.mode=auto"],
        "set storage.url",
    ),
    "rights for the service account of everybody": (
        [*JOBS, "serviceAccount.create=false"],
        "set serviceAccount.create to true, or serviceAccount.name",
    ),
    "Kubernetes Jobs that end with a ReplicaSet": ([*JOBS, "revisionHistoryLimit=0"], "set revisionHistoryLimit to 1"),
    "too little memory for a Kubernetes Job": ([*JOBS, "kubernetesJobs.memory.max=2Gi"], "set it to 2560Mi at least"),
    "a deadline within a conversion": (
        [*JOBS, "kubernetesJobs.deadline=600"],
        "kubernetesJobs.deadline is 600, .* set it above conversionTimeout",
    ),
    "less memory at most than at least": (
        [*JOBS, "kubernetesJobs.memory.min=4Gi", "kubernetesJobs.memory.max=3Gi"],
        "kubernetesJobs.memory.max is 3Gi, less than kubernetesJobs.memory.min, which is 4Gi",
    ),
    "an unknown mode of Kubernetes Jobs": ([*JOBS[:2], "kubernetesJobs.mode=on"], "mode"),
    "Kubernetes Jobs in config": ([*JOBS, "config.KUBERNETES_JOBS_MAX=3"], "set kubernetesJobs.max"),
    "a template of Kubernetes Jobs in config": ([*JOBS, "config.KUBERNETES_JOB_TEMPLATE=/a"], "remove it"),
    "a misspelled value": (["workrs=3"], "workrs"),
    "a misspelled nested value": (["redis.enable=false"], "enable"),
    "a size in an unknown unit": (["maxFileSize=100MB"], "maxFileSize"),
}


@pytest.mark.parametrize("version", HELMS)
@pytest.mark.parametrize("case", REFUSED)
def test_invalid_values_are_refused_with_a_fix(case, version):
    values, sentence = REFUSED[case]
    said = refusal(*sets(*values), version=version)
    assert re.search(sentence, said), said
