# The images of Meshgate. The last stage is for production:
#
#   docker build -t meshgate .                          production
#   docker build -t meshgate:dev --target development . the toolchain, for mounted sources
#
# The syntax works with BuildKit and the classic builder.
ARG DEBIAN_IMAGE=debian:12-slim
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm

# A separate stage, since the classic builder accepts no variable in COPY --from.
FROM ${RUST_IMAGE} AS toolchain

# Installs the engine; pip and compilers stay in this stage.
FROM toolchain AS engine
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends binutils gcc libc6-dev python3.11 python3.11-venv xz-utils \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY blender/requirements.txt blender/
COPY docker/ docker/
# A full Blender instead of its Python module: the URL of a tarball, or a file name in docker/.
ARG BLENDER_TARBALL=""
ARG BLENDER_SHA256=""
RUN docker/get-engine.sh /opt/meshgate

# The runtime of conversions, without build tools.
FROM ${DEBIAN_IMAGE} AS base
COPY docker/install-libraries.sh /tmp/
RUN /tmp/install-libraries.sh && rm /tmp/install-libraries.sh
COPY --from=engine /opt/meshgate /opt/meshgate
ARG BLENDER_TARBALL=""
# If empty, BLENDER_BIN counts as unset, and the program uses the engine beside it.
ENV BLENDER_BIN=${BLENDER_TARBALL:+/opt/meshgate/blender/blender} \
    LANG=C.UTF-8

# Compiles the program. Dependencies have a layer of their own, which survives changes of the sources.
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

# Development: sources are mounted, build products are in volumes, and XDG_DATA_HOME locates the engine.
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
# A changed file stops the program with SIGINT and rebuilds it; after a failed build, the next change retries.
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
# Mount points of volumes belong to group 0, since platforms that choose the user keep that group.
RUN ln -s /opt/meshgate/meshgate /usr/local/bin/meshgate \
 && useradd --uid 10001 --gid 0 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin meshgate \
 && install -d -o 10001 -g 0 -m 0770 /var/lib/meshgate /var/log/blender
ENV APP_ENV=production \
    DATA_DIR=/var/lib/meshgate \
    HOME=/tmp
USER 10001:0
WORKDIR /tmp
EXPOSE 5000
# tini forwards signals, reaps orphans, and ends with the program.
ENTRYPOINT ["tini", "--", "meshgate"]
CMD ["serve"]
# Healthy once Blender is warm. A probe may take ten seconds, since all processors may be busy.
HEALTHCHECK --interval=5s --timeout=10s --start-period=60s --retries=6 \
    CMD ["meshgate", "healthcheck"]
