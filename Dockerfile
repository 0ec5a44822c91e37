# The container image of tagscale: pipeline tasks, TrainJobs, the MLflow server and the served champion all run in it.
#
# `make image` builds it. Nothing here needs BuildKit. The addresses of package indexes may hold passwords, so they are
# arguments of a stage that is thrown away. Neither they nor uv and pip are in the image or its history.

ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS packages
LABEL tagscale.stage=build
# pip's own variables, for a private index, or for a proxy with its own certificate.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_CERT
# TORCH_INDEX makes an image without CUDA, of a third of the size. It is the address of an index with CPU builds of the
# locked versions of torch and torchaudio, such as PyTorch's own. The lock holds only the hashes of the CUDA builds, so
# the hashes of these two packages are not checked and the index must be trusted. All other hashes are checked.
ARG TORCH_INDEX
ARG UV="uv==0.13.9 --hash=sha256:d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19"
# requirements-serve.lock makes an image that serves and tags, and runs no pipelines (`make image-serve`).
ARG LOCK=requirements-image.lock
ENV VIRTUAL_ENV=/opt/tagscale
WORKDIR /build
COPY ${LOCK} packages.lock
RUN set -eu; \
    if [ -n "${PIP_CERT:-}" ] && [ ! -f "$PIP_CERT" ]; then \
        echo "PIP_CERT is $PIP_CERT, which the base image does not have: unset it, or give a BASE that has it" >&2; \
        exit 1; \
    fi; \
    python -m venv uv; \
    echo "$UV" >uv.txt; \
    uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r uv.txt; \
    python -m venv --without-pip "$VIRTUAL_ENV"; \
    export UV_NO_CACHE=1; \
    if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$PIP_INDEX_URL"; fi; \
    if [ -n "${PIP_EXTRA_INDEX_URL:-}" ]; then export UV_INDEX="$PIP_EXTRA_INDEX_URL"; fi; \
    if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE="$PIP_CERT"; fi; \
    if [ -z "${TORCH_INDEX:-}" ]; then \
        uv/bin/uv pip install --quiet --require-hashes -r packages.lock; \
    else \
        awk '/^[^ #]/ { only_cuda = /^(torch|torchaudio|triton)==/ || /^(cuda|nvidia)-/ } !only_cuda' \
            packages.lock >rest.lock; \
        uv/bin/uv pip install --quiet --no-deps --require-hashes -r rest.lock; \
        uv/bin/uv pip install --quiet --no-deps --default-index "$TORCH_INDEX" \
            $(sed -n -E 's/^(torch|torchaudio)==([^ ;]+).*/\1==\2/p' packages.lock); \
    fi; \
    uv/bin/uv pip check; \
    # Nothing can write bytecode later, and without it every task would compile its imports again, for many seconds.
    # Unchecked bytecode does not become stale when a copy or mount changes the time of a file.
    python -m compileall -q -j 0 -x '/tests/' --invalidation-mode unchecked-hash "$VIRTUAL_ENV/lib"; \
    rm "$VIRTUAL_ENV/.lock"

FROM packages AS tagscale
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN set -eu; \
    uv/bin/uv pip install --quiet --no-cache --no-deps --no-build-isolation --prefix installed .; \
    python -m compileall -q --invalidation-mode unchecked-hash installed; \
    rm -f installed/.lock
# The published encoders, 11 MB. Without them everything works that does not name one.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_CERT
RUN export PYTHONPATH="$(echo installed/lib/python*/site-packages):$(echo "$VIRTUAL_ENV"/lib/python*/site-packages)"; \
    uv/bin/python -c "from tagscale.cli import main; main()" fetch-encoders --folder pretrained || \
        echo "the image has no published encoders"; \
    mkdir -p pretrained; \
    chmod -R a+rX pretrained

FROM ${BASE}
# Some systems start tasks in login shells, which set a PATH of their own.
RUN groupadd --gid 1000 tagscale && \
    useradd --uid 1000 --gid 1000 --no-log-init --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tagscale && \
    echo 'PATH=/opt/tagscale/bin:$PATH' >/etc/profile.d/tagscale.sh
# The packages have a layer of their own, which changes with the lock and not with every commit.
COPY --from=packages /opt/tagscale /opt/tagscale
COPY --from=tagscale /build/installed /opt/tagscale
COPY --from=tagscale /build/pretrained /opt/pretrained
WORKDIR /app
COPY params.yaml dvc.yaml ./
COPY presets presets
COPY components components
COPY pipelines pipelines
# Every user can write to /tmp, even if the root file system is read-only. Without TORCHINDUCTOR_CACHE_DIR torch asks
# for the name of the user, and its import fails if the user has no name.
ENV PATH=/opt/tagscale/bin:$PATH \
    HOME=/tmp \
    TAGSCALE_PRETRAINED=/opt/pretrained \
    TORCHINDUCTOR_CACHE_DIR=/tmp/torchinductor \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
    GX_ANALYTICS_ENABLED=false \
    DVC_NO_ANALYTICS=1 \
    GIT_PYTHON_REFRESH=quiet
USER 1000:1000
CMD ["tagscale", "--help"]

ARG GIT_COMMIT=unknown
ARG VERSION=unknown
ARG SOURCE
ENV TAGSCALE_GIT_COMMIT=${GIT_COMMIT}
LABEL org.opencontainers.image.title="tagscale" \
      org.opencontainers.image.description="Train, compare, register and serve music taggers" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${GIT_COMMIT}" \
      org.opencontainers.image.source="${SOURCE}"
