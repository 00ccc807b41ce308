"""Production as in the README: nginx, servers, workers, Redis. The tests of this file depend on their order."""

import base64
import concurrent.futures
import functools
import http.client
import io
import itertools
import json
import os
import re
import zipfile

import pytest
from kit import COMPILING, IMAGE, MAKE_EATER, ROOT, Jobs, Stack, ask, grid, inspect, kill, run, triangle, until

HUMANOID = ROOT / "examples/humanoid.fbx"
# Like nginx and the server.
MEGABYTE = 1 << 20


def lines_of(heading: str) -> list[str]:
    """The commands of a README section."""
    text = (ROOT / "README.md").read_text()
    _, section = text.split(f"#### {heading}\n", 1)
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    return [line.split("  #")[0].strip() for line in block[1].splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def port(production) -> int:
    return int(production.variables["HTTP_PORT"])


def convert(port: int, target: str, model: bytes, name: str, **options):
    return ask(port, f"/convert?output_format={target}&filename={name}", model, **options)


numbers = itertools.count(1)


def works(port: int) -> bool:
    """Whether a new model is converted."""
    answer = convert(port, "glb", triangle(next(numbers)), "a.obj")
    return answer.status == 200 and answer.header("meshgate-cache") == "miss"


def test_the_production_steps_of_the_readme_work(production, port):
    first, *steps = lines_of("Production")
    file = "docker-compose -f docker-compose.prod.yml"
    assert steps == [f"{file} up -d --build", "curl http://localhost/health", f"{file} ps", f"{file} logs nginx",
                     f"{file} logs api", f"{file} down"]  # fmt: skip
    for step in [first, *steps[:-1]]:
        # Another port if port 80 is taken.
        line = step if port == 80 else step.replace("http://localhost/", f"http://localhost:{port}/")
        if os.environ.get("TEST_IMAGE"):
            line = line.replace(" --build", "")
        if line.startswith("curl "):
            until("nginx answers", lambda line=line: production.shell(line, check=False).returncode == 0)
        done = production.shell(line, timeout=COMPILING)
        if line.startswith("curl "):
            assert json.loads(done.stdout)["status"] == "healthy", done.stdout
        elif " logs api" in line:
            assert "listening" in done.stdout, done.stdout
        elif " logs nginx" in line:
            assert '"path":"/health"' not in done.stdout, "probes are not logged"
    for service in ("nginx", "api", "redis", "redis-jobs"):
        until(service, lambda service=service: production.is_healthy(service))


def test_nginx_serves_conversions(port):
    answer = convert(port, "glb", HUMANOID.read_bytes(), "humanoid.fbx", X_Request_Id="deploy-1")
    assert answer.status == 200 and answer.body[:4] == b"glTF", answer
    assert answer.header("x-request-id") == "deploy-1" and answer.header("content-encoding") is None
    zip_file = io.BytesIO()
    with zipfile.ZipFile(zip_file, "w") as archive:
        for path in (ROOT / "examples/crate").iterdir():
            archive.write(path, path.name)
    answer = convert(port, "glb", zip_file.getvalue(), "crate.zip")
    assert answer.status == 200 and answer.header("meshgate-losses") == "0", answer
    answer = convert(port, "obj", HUMANOID.read_bytes(), "humanoid.fbx")
    names = zipfile.ZipFile(io.BytesIO(answer.body)).namelist()
    assert {name.rsplit(".")[-1] for name in names} >= {"obj", "mtl"}, names


def test_a_form_with_several_files_converts(production, port):
    fields = " ".join(f"-F 'file=@{path}'" for path in sorted((ROOT / "examples/crate").iterdir()))
    line = f"curl -fsS {fields} -o form.glb 'http://localhost:{port}/convert?output_format=glb'"
    production.shell(line)
    assert (production.folder / "form.glb").read_bytes()[:4] == b"glTF"


def test_uploads_above_100_megabytes_are_refused(port):
    model = triangle() + b"#\n" * (51 * MEGABYTE)
    assert convert(port, "stl", model[: 100 * MEGABYTE], "a.obj").status == 200
    answer = convert(port, "stl", model[: 101 * MEGABYTE], "a.obj")
    assert (answer.status, answer.problem()["code"]) == (413, "too_large")


def test_nginx_sets_headers_and_compresses_text(port):
    for path in ("/health", "/nowhere", "/metrics"):
        answer = ask(port, path)
        assert answer.header("x-frame-options") == "DENY" and answer.header("x-content-type-options") == "nosniff"
        assert answer.header("x-xss-protection") and answer.header("server") == "nginx"
        assert answer.header("content-security-policy") == "default-src 'none'; frame-ancestors 'none'"
        assert len(answer.header("x-request-id")) == 32
    page = ask(port, "/apidocs/")
    assert page.status == 200 and "script-src 'self'" in page.header("content-security-policy")
    compressed = ask(port, "/openapi.json", Accept_Encoding="gzip")
    assert compressed.header("content-encoding") == "gzip" and compressed.header("vary") == "Accept-Encoding"
    model = convert(port, "glb", HUMANOID.read_bytes(), "humanoid.fbx", Accept_Encoding="gzip")
    assert model.header("content-encoding") is None and model.body[:4] == b"glTF"


def test_nginx_errors_have_the_server_s_format(port):
    assert (ask(port, "/metrics").status, ask(port, "/metrics").problem()["code"]) == (404, "not_found")
    long = ask(port, "/health", X_Long="a" * 40_000)
    assert (long.status, long.problem()["code"]) == (431, "head_too_large")
    # An invalid request ID is replaced, in the error and in the log.
    assert ask(port, "/metrics", X_Request_Id='"},{').problem()["request_id"] != '"},{'


def test_the_nginx_log_is_json_with_request_ids(production, port):
    ask(port, "/v1/formats", X_Request_Id="look-for-me")

    def logged():
        text = production.compose("logs --no-log-prefix nginx").stdout
        return [json.loads(line) for line in text.splitlines() if "look-for-me" in line]

    entry = until("a line in the log", logged)[0]
    assert (entry["method"], entry["path"], entry["status"]) == ("GET", "/v1/formats", 200), entry
    assert "look-for-me" in production.compose("logs api").stdout


def test_the_server_log_is_also_written_to_a_file(production, port):
    ask(port, "/v1/formats", X_Request_Id="look-in-the-file")

    def written():
        lines = production.compose("exec -T api sh -c 'cat /var/log/blender/app.*-*-*.log'").stdout.splitlines()
        return [json.loads(line) for line in lines if "look-in-the-file" in line]

    assert until("a line in the file", written)[0]["route"] == "/v1/formats"


def test_only_nginx_is_reachable(production):
    for service, private in (("api", "5000"), ("redis", "6379"), ("redis-jobs", "6379")):
        name = production.container(service)
        assert inspect(name, "{{json .HostConfig.PortBindings}}") in ("{}", "null")
        assert run("docker", "port", name).stdout == "", private
    # nginx cannot reach a Redis by name or by address.
    for service in ("redis", "redis-jobs"):
        address = inspect(production.container(service), "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
        for host in (service, address):
            line = f"timeout 5 bash -c '</dev/tcp/{host}/6379'"
            done = production.compose(f'exec -T nginx bash -c "{line}"', check=False)
            assert done.returncode != 0, host


def test_all_containers_are_confined(production):
    for service in ("nginx", "api", "redis", "redis-jobs"):
        host = json.loads(inspect(production.container(service), "{{json .HostConfig}}"))
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["RestartPolicy"]["Name"] == "always"
        assert host["Memory"] > 0 and host["PidsLimit"] > 0 and "no-new-privileges:true" in host["SecurityOpt"]
        script = "id -u; touch /etc/x 2>/dev/null && echo writable; true"
        said = production.compose(f"exec -T {service} sh -c '{script}'").stdout.split()
        assert said != ["0"] and len(said) == 1, said
    found = production.compose("exec -T api meshgate doctor").stdout
    assert "✓ sandbox: complete" in found and "✓ redis" in found and "✗" not in found, found
    for service, secret, wanted in [
        ("redis", "redis_password", {"536870912", "allkeys-lru", "no"}),
        ("redis-jobs", "jobs_redis_password", {"536870912", "noeviction", "yes", "everysec"}),
    ]:
        script = f"REDISCLI_AUTH=$(cat /run/secrets/{secret}) redis-cli config get 'maxmemory*' 'append*'"
        config = run("docker", "exec", production.container(service), "sh", "-c", script).stdout
        assert wanted <= set(config.split()), config
        refused = production.compose(f"exec -T {service} redis-cli ping", check=False)
        assert "NOAUTH" in refused.stdout
    # Process lists and environments do not show the password.
    password = (production.folder / "secrets/redis_password").read_text().strip()
    for service in ("nginx", "api", "redis", "redis-jobs"):
        shown = run("docker", "inspect", production.container(service)).stdout
        assert "/run/secrets/" in shown or service == "nginx", service
        assert password not in shown, service
    for service in ("redis", "redis-jobs"):
        assert password not in run("docker", "top", production.container(service), "-eo", "pid,args").stdout


def test_an_out_of_memory_conversion_fails_alone(production, port):
    name = production.container("api")
    run("docker", "exec", name, "/opt/meshgate/engine/bin/python", "-c", MAKE_EATER)
    eater = production.folder / "eater.blend"
    eater.write_bytes(file_of(name, "/tmp/eater.blend"))
    before = production.started()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        eating = pool.submit(convert, port, "glb", eater.read_bytes(), "eater.blend")
        assert works(port)
        answer = eating.result()
    assert (answer.status, answer.problem()["code"]) == (422, "memory_limit")
    assert works(port) and production.started() == before
    assert inspect(name, "{{.State.OOMKilled}} {{.RestartCount}}") == "false 0"
    assert kills(name) == 0


def file_of(name: str, path: str) -> bytes:
    return base64.b64decode(run("docker", "exec", name, "base64", path).stdout)


def kills(name: str) -> int:
    """The number of processes of the container that the OOM killer ended."""
    script = "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null; true"
    counts = re.findall(r"^oom_kill (\d+)", run("docker", "exec", name, "sh", "-c", script).stdout, re.MULTILINE)
    assert counts, "the kernel says nothing of it"
    return sum(int(count) for count in counts)


def kill_service(stack: Stack, service: str) -> None:
    """Kills the process of a service."""
    name = stack.container(service)
    pid = inspect(name, "{{.State.Pid}}")
    if service in ("api", "worker"):
        # Process 1 is the init; the server is its child.
        listed = run("docker", "top", name, "-eo", "pid,comm").stdout.splitlines()
        pid = next(line.split()[0] for line in listed if line.split()[1] == "meshgate")
    kill(pid)


@pytest.mark.parametrize("service", ["api", "nginx", "redis", "redis-jobs"])
def test_killed_services_restart(production, port, service):
    before = production.started()
    name = production.container(service)
    kill_service(production, service)
    until("it was started again", lambda: production.started()[name] != before[name])
    until("requests work again", lambda: works(port))
    until("it is healthy", lambda: production.is_healthy(service))
    after = production.started()
    assert {key for key in after if after[key] != before[key]} == {name}, (before, after)
    part = {"redis": "redis", "redis-jobs": "jobs"}.get(service)
    if part:

        def shared():
            return ask(port, "/health").json()[part]["status"] == "ok"

        until("the server uses it again", shared)


@pytest.fixture(scope="module")
def jobs(port) -> Jobs:
    return Jobs(functools.partial(ask, port))


def test_nginx_passes_events_of_jobs_at_once(jobs, port):
    path = jobs.submit("fbx", grid(350) + f"# {next(numbers)}\n".encode())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", f"{path}/events", headers={"Accept-Encoding": "gzip"})
        stream = connection.getresponse()
        assert stream.headers["content-type"] == "text/event-stream" and not stream.headers["content-encoding"]
        # The first event comes while the job has not ended yet.
        assert stream.readline().startswith((b"event:", b"id:", b"data:", b":"))
        assert jobs.state(path) in ("queued", "running")
        events = stream.read().decode()
    finally:
        connection.close()
    assert "event: end" in events and '"state":"succeeded"' in events, events[-2000:]
    assert b"Kaydara FBX" in jobs.result(path)[:32]


def test_jobs_survive_killed_servers_and_a_killed_redis(production, jobs, port):
    slow = grid(350)
    paths = [jobs.submit("fbx", slow + f"# {next(numbers)}\n".encode()) for _ in range(4)]
    jobs.has_begun(paths[0])
    kill_service(production, "api")
    until("requests work again", lambda: works(port))
    kill_service(production, "redis-jobs")
    assert all(b"Kaydara FBX" in jobs.result(path)[:32] for path in paths)


def test_a_worker_runs_jobs(production, jobs, port):
    production.compose("up -d --no-build --no-recreate --scale worker=1", timeout=300)
    until("the worker is healthy", lambda: production.is_healthy("worker"))
    # More at a time than the server has workers.
    slow = grid(350)
    paths = [jobs.submit("fbx", slow + f"# {next(numbers)}\n".encode()) for _ in range(8)]
    assert all(b"Kaydara FBX" in jobs.result(path)[:32] for path in paths)
    network = f'{{{{(index .NetworkSettings.Networks "{production.name}_front").IPAddress}}}}'
    text = ask(5000, "/metrics", host=inspect(production.container("worker"), network)).body.decode()
    done = re.search(r'^meshgate_job_attempts_total\{reason="succeeded"\} (\d+)$', text, re.MULTILINE)
    assert done and int(done[1]) > 0, text
    # nginx passes requests to servers only.
    assert all(ask(port, "/v1/formats").status == 200 for _ in range(20))
    production.compose("up -d --no-build --no-recreate --scale worker=0", timeout=300)


# Adds or removes an ARP entry for a network card that does not exist, so that packets to the address are lost.
LOSE = """
import fcntl, socket, struct, sys
request, address = {"lose": 0x8955, "find": 0x8953}[sys.argv[1]], socket.inet_aton(sys.argv[2])
ip = struct.pack("=HH4s8x", socket.AF_INET, 0, address)
card = struct.pack("=H6s8x", 1, bytes([2, 0, 0, 0, 0, 1]))
entry = ip + card + struct.pack("=i16s16s", 6, b"", b"eth0")
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), request, entry)
"""


def test_an_unreachable_server_gives_502_and_a_silent_one_504(production, port):
    host = address(production, 1)

    def route(verb: str):
        run("docker", "run", "--rm", "--network", f"container:{production.container('nginx')}", "--user", "0",
            "--cap-add", "NET_ADMIN", "--entrypoint", "python3.11", IMAGE, "-c", LOSE, verb, host)  # fmt: skip

    route("lose")
    try:
        away = ask(port, "/v1/formats")
    finally:
        route("find")
    assert (away.status, away.problem()["code"], away.header("retry-after")) == (502, "engine_unavailable", "5")
    until("requests work again", lambda: works(port))
    # A server that accepts the connection but does not answer gives 504. A probe waits ten seconds.
    run("docker", "pause", production.container("api"))
    try:
        late = ask(port, "/health")
    finally:
        run("docker", "unpause", production.container("api"))
    assert (late.status, late.problem()["code"], late.header("retry-after")) == (504, "timeout", None)
    until("requests work again", lambda: works(port))


def test_nginx_finds_a_server_whose_address_changed(production, port):
    before = address(production, 1)
    production.compose("stop api")
    away = ask(port, "/v1/formats")
    assert (away.status, away.problem()["code"], away.header("retry-after")) == (502, "engine_unavailable", "5")
    # Another container takes the address meanwhile.
    squatter = run("docker", "run", "--detach", "--network", f"{production.name}_front", "--entrypoint", "sleep",
                   IMAGE, "infinity").stdout.strip()  # fmt: skip
    try:
        production.compose("start api")
        until("it is healthy", lambda: production.is_healthy("api"))
        assert address(production, 1) != before
        until("requests work again", lambda: works(port))
    finally:
        run("docker", "rm", "--force", squatter)


def test_stopping_finishes_accepted_requests(production, port):
    slow = grid(350)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(convert, port, "fbx", slow + f"# {number}\n".encode(), "a.obj") for number in range(4)]

        def at_work():
            health = ask(port, "/health").json()
            return health["engine"]["busy"] + health["queue"]["waiting"] == 4

        until("all were taken", at_work)
        production.compose("stop", timeout=300)
        answers = [each.result() for each in asked]
    assert [answer.status for answer in answers] == [200] * 4, answers
    assert all(b"Kaydara FBX" in answer.body[:32] for answer in answers)
    assert inspect(production.container("api"), "{{.State.ExitCode}}") == "0"


def address(stack: Stack, index: int) -> str:
    """A server's address in the network it shares with nginx."""
    template = f'{{{{(index .NetworkSettings.Networks "{stack.name}_front").IPAddress}}}}'
    return inspect(stack.container("api", index), template)


def conversions(host: str) -> int:
    """The number of conversions of a server."""
    text = ask(5000, "/metrics", host=host).body.decode()
    assert "meshgate_cache_requests_total" in text
    return sum(int(count) for count in re.findall(r"^meshgate_conversions_total\{.*\} (\d+)$", text, re.MULTILINE))


def test_two_servers_share_the_work(production, port):
    production.compose("up -d --no-build --no-recreate --scale api=2", timeout=300)
    until("nginx is healthy", lambda: production.is_healthy("nginx"))
    until("the second is healthy", lambda: production.is_healthy("api", 2))
    hosts = [address(production, index) for index in (1, 2)]
    assert len(set(hosts)) == 2

    def equal_ones():
        """Sends equal requests at the same time; true if both servers got some."""
        number = next(numbers)
        before = sum(conversions(host) for host in hosts)
        model = grid(100) + f"# {number}\n".encode()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            one = functools.partial(convert, port, "fbx", model, "a.obj", X_Request_Id=f"equal-{number}")
            answers = [each.result() for each in [pool.submit(one) for _ in range(8)]]
        assert [answer.status for answer in answers] == [200] * 8, answers
        assert len({answer.body for answer in answers}) == 1
        how = sorted(answer.header("meshgate-cache") for answer in answers)
        assert how.count("miss") == 1 and set(how) <= {"miss", "hit", "coalesced"}, how
        assert sum(conversions(host) for host in hosts) == before + 1

        def served():
            log = production.compose("logs --no-log-prefix nginx").stdout.splitlines()
            lines = [json.loads(line) for line in log if f'"equal-{number}"' in line]
            return len(lines) == 8 and {line["upstream"] for line in lines}

        return until("all are in the log", served) == {f"{host}:5000" for host in hosts} and answers

    answers = until("both have served", equal_ones)
    # Both servers can read each report.
    for link in {answer.header("link") for answer in answers}:
        path = re.match(r"<(/v1/reports/[^>]+)>", link)[1]
        reports = [ask(5000, path, host=host) for host in hosts]
        assert [report.status for report in reports] == [200, 200], reports
        assert reports[0].json() == reports[1].json() == ask(port, path).json()


def test_volumes_survive_compose_down(production, port):
    production.shell(lines_of("Production")[-1])
    assert production.compose("ps --all --quiet").stdout == ""
    volumes = run("docker", "volume", "ls", "--quiet").stdout.split()
    assert {f"{production.name}_{volume}" for volume in ("data", "jobs", "logs")} <= set(volumes)


def test_invalid_configuration_is_reported(tree, image):
    stack = Stack(tree, "meshgate-bad", ["docker-compose.prod.yml"], {"HTTP_PORT": "18099"})
    try:
        stack.variables["REDIS_PASSWORD_SECRET"] = "./secrets/none"
        done = stack.compose("up -d --no-build", check=False)
        assert done.returncode != 0 and "secrets/none" in done.stderr, done.stderr
        del stack.variables["REDIS_PASSWORD_SECRET"]
        holder = run("docker", "run", "--detach", "--publish", "18099:1", "--entrypoint", "sleep", image, "infinity")
        try:
            done = stack.compose("up -d --no-build", check=False)
            assert done.returncode != 0 and "18099" in done.stderr, done.stderr
        finally:
            run("docker", "rm", "--force", holder.stdout.strip())
    finally:
        stack.compose("down --volumes --timeout 5", check=False)
