"""What Helm prints after an install."""

import pytest
from kit import CHART, helm, sets


def notes(*values: str) -> str:
    arguments = sets(*values)
    done = helm("install", "m", str(CHART), "--namespace", "models", "--dry-run=client", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\nNOTES:\n")[1]


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ([], "http://ADDRESS-OF-THE-INGRESS/convert?"),
        (["ingress.hosts[0].host=a.example.org"], "http://a.example.org/convert?"),
        (["ingress.hosts[0].host=*.example.org"], "http://any-name.example.org/convert?"),
        (["ingress.hosts[0].host=a.b", "ingress.tls[0].secretName=s"], "https://a.b/convert?"),
        (
            ["ingress.hosts[0].host=a.b", "ingress.tls[0].secretName=s", "ingress.tls[0].hosts={c.d}"],
            "http://a.b/convert?",
        ),
        (["ingress.enabled=false"], "http://127.0.0.1:8080/convert?"),
        (
            ["httpRoute.enabled=true", "httpRoute.parentRefs[0].name=g", "httpRoute.hostnames={r.example.org}"],
            "http://r.example.org/convert?",
        ),
    ],
)
def test_install_notes_show_the_matching_url(values, url):
    said = notes(*values)
    assert f'"{url}output_format=glb"' in said, said
    assert "X-Api-Key" not in said and "X-Api-Key: KEY" in notes(*values, "apiKeys.existingSecret=k")


def test_install_notes_name_the_deployments():
    said = notes()
    assert "rollout status deployment/m-meshgate\n" in said and "logs deployment/m-meshgate " in said
    said = notes("mode=distributed", "storage.url=s3://b")
    for name in ("m-meshgate-gateway", "m-meshgate-worker"):
        assert f"rollout status deployment/{name}\n" in said and f"logs deployment/{name} " in said, said
    of_jobs = "get jobs -l app.kubernetes.io/instance=m,app.kubernetes.io/component=job"
    assert of_jobs not in said
    assert of_jobs in notes("mode=distributed", "storage.url=s3://b", "kubernetesJobs.mode=always")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([], None),
        (["storage.url=s3://b", "persistence.enabled=false"], None),
        (["redisJobs.enabled=false", "externalRedisJobs.url=redis://jobs"], None),
        (["redisJobs.enabled=false"], "jobs are kept in the pod and end with it"),
        (["persistence.enabled=false"], "models and results of jobs are kept in the pod"),
        (["redisJobs.enabled=false", "persistence.enabled=false"], "or storage.url, for their models and results"),
    ],
)
def test_install_notes_warn_of_jobs_that_end_with_the_pod(values, told):
    said = notes(*values)
    assert ("WARNING" in said) == (told is not None) and (told or "") in said, said
    bundled = not values or "redisJobs" not in " ".join(values)
    assert ("data-m-meshgate-redis-jobs-0" in said) == bundled, said
