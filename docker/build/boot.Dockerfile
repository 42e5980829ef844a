# synos-boot: QEMU and its firmware, to start an ISO and read what it reports. It needs no capability and no network;
# the Python code it runs is bound in at /project.
ARG BASE=debian:bookworm-slim
FROM ${BASE}

LABEL io.synos.role=build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# docker-clean empties the apt cache after each run, and so defeats the cache mounts
# hadolint ignore=DL3008
RUN --mount=type=cache,id=synos-apt-bookworm-cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=synos-apt-bookworm-lists,target=/var/lib/apt,sharing=locked \
    --mount=type=secret,id=certificates,target=/synos/certificates.pem,mode=0444 \
    --mount=type=secret,id=apt,target=/etc/apt/apt.conf.d/90synos \
    rm -f /etc/apt/apt.conf.d/docker-clean \
 && apt-get update -qq --error-on=any 2>&1 | tee /dev/stderr | (! grep -q "Conflicting distribution") \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      ovmf \
      python3 \
      qemu-system-x86 \
      seabios

# used only where no --user is given; `inv build.boot` runs it as the invoking user
USER 65534:65534

ENV PYTHONPATH=/project PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

CMD ["python3", "-m", "synos_tasks.iso.boot"]
