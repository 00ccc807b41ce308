# Meshgate in an image. The last stage is for production:
#
#   docker build -t meshgate .                          production
#   docker build -t meshgate:dev --target development . the toolchain, for sources that are mounted
#
# Plain syntax, for BuildKit and the classic builder alike.
ARG DEBIAN_IMAGE=debian:12-slim
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm

# The classic builder takes only the name of a stage in COPY --from.
FROM ${RUST_IMAGE} AS toolchain

# Gets the engine; pip and compilers stay behind here.
FROM toolchain AS engine
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends binutils gcc libc6-dev python3.11 python3.11-venv xz-utils \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY blender/requirements.txt blender/
COPY docker/ docker/
# A full Blender instead of its Python module: the URL of a tarball, or the name of one in docker/.
ARG BLENDER_TARBALL=""
ARG BLENDER_SHA256=""
RUN docker/get-engine.sh /opt/meshgate

# What conversions need, and nothing to build with.
FROM ${DEBIAN_IMAGE} AS base
COPY docker/install-libraries.sh /tmp/
RUN /tmp/install-libraries.sh && rm /tmp/install-libraries.sh
COPY --from=engine /opt/meshgate /opt/meshgate
ARG BLENDER_TARBALL=""
# Empty is unset: then the program takes the engine that lies beside it.
ENV BLENDER_BIN=${BLENDER_TARBALL:+/opt/meshgate/blender/blender} \
    LANG=C.UTF-8

# Compiles: dependencies in a layer of their own, which a change of the sources leaves alone.
FROM toolchain AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src blender/tests benches \
 && echo 'fn main() {}' >src/main.rs \
 && cp src/main.rs blender/tests/seccomp_program.rs \
 && cp src/main.rs benches/main.rs \
 && touch src/lib.rs \
 && cargo build --release --locked \
 && cargo clean --release --locked --package meshgate
COPY build.rs ./
COPY blender/requirements.txt blender/
COPY blender/meshgate_engine/ blender/meshgate_engine/
COPY src/ src/
RUN cargo build --release --locked

# Sources come from outside; what is made of them stays in volumes. The engine is where XDG_DATA_HOME says.
FROM base AS development
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev python3.11-venv \
 && rm -rf /var/lib/apt/lists/*
COPY --from=toolchain /usr/local/rustup /usr/local/rustup
COPY --from=toolchain /usr/local/cargo /usr/local/cargo
COPY docker/requirements-dev.txt /tmp/
RUN python3.11 -m venv /opt/watch \
 && /opt/watch/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
      --only-binary :all: -r /tmp/requirements-dev.txt
ENV PATH=/usr/local/cargo/bin:/opt/watch/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    RUSTUP_HOME=/usr/local/rustup \
    CARGO_HOME=/usr/local/cargo \
    CARGO_TARGET_DIR=/target \
    XDG_DATA_HOME=/opt \
    BIND_ADDRESS=0.0.0.0:5000 \
    DATA_DIR=/var/lib/meshgate
WORKDIR /src
EXPOSE 5000
# A change of a file ends the program with SIGINT and builds it again; where that fails, the next change tries anew.
ENTRYPOINT ["tini", "-g", "--"]
CMD ["watchfiles", "--filter", "default", "--sigint-timeout", "10", \
     "cargo run --locked -- serve", "src", "blender/meshgate_engine", "Cargo.toml", "Cargo.lock"]
# The first start compiles every dependency.
HEALTHCHECK --interval=5s --timeout=10s --start-period=20m --retries=12 \
    CMD ["/target/debug/meshgate", "healthcheck"]

FROM base AS production
ARG VERSION=0.1.0
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="Meshgate" \
      org.opencontainers.image.description="Converts 3D models and motions between formats, with Blender as its engine" \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-3.0-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /src/target/release/meshgate /opt/meshgate/meshgate
COPY LICENSE NOTICE /opt/meshgate/
# Folders that volumes are mounted at belong to group 0, as whom every user runs that a platform chooses.
RUN ln -s /opt/meshgate/meshgate /usr/local/bin/meshgate \
 && useradd --uid 10001 --gid 0 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin meshgate \
 && install -d -o 10001 -g 0 -m 0770 /var/lib/meshgate /var/log/blender
ENV APP_ENV=production \
    DATA_DIR=/var/lib/meshgate \
    HOME=/tmp
USER 10001:0
WORKDIR /tmp
EXPOSE 5000
# tini passes signals on, reaps what loses its parent, and ends with the program.
ENTRYPOINT ["tini", "--", "meshgate"]
CMD ["serve"]
# Ready as soon as Blender is warm; a probe has ten seconds, as when all processors are busy.
HEALTHCHECK --interval=5s --timeout=10s --start-period=60s --retries=6 \
    CMD ["meshgate", "healthcheck"]
