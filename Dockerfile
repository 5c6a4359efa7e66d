# Two images: `api` (with the dashboard, without PyTorch) and `worker` (with PyTorch).
# Dependencies are installed before any code is copied, so that a change of the code reuses their layers.

FROM node:24-slim AS dashboard
# Behind a company's proxy the registry's certificate is known to the system only.
ENV NODE_USE_SYSTEM_CA=1
WORKDIR /frontend
COPY frontend/package.json frontend/package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund --no-update-notifier
COPY frontend .
RUN npm run build

FROM python:3.13-slim AS python
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The owner of these folders becomes the owner of the volumes that are mounted there first. One user for all services.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp cctboard \
 && install --directory --owner cctboard --group cctboard --mode 0700 /data /database /run/cctboard \
 && python -m venv /opt/venv
WORKDIR /cctboard

FROM python AS api
COPY requirements-api.lock .
RUN --mount=type=cache,target=/root/.cache/pip pip install --quiet --require-hashes -r requirements-api.lock
COPY pyproject.toml README.md ./
COPY cct cct
COPY app app
COPY worker worker
RUN --mount=type=cache,target=/root/.cache/pip pip install --quiet --no-deps --editable .
COPY --from=dashboard /frontend/dist frontend/dist
USER 10001:10001
EXPOSE 8000
CMD ["cctboard", "api", "--host", "0.0.0.0"]

FROM python AS worker
COPY requirements-worker.lock .
RUN --mount=type=cache,target=/root/.cache/pip pip install --quiet --require-hashes -r requirements-worker.lock
COPY pyproject.toml README.md ./
COPY cct cct
COPY app app
COPY worker worker
RUN --mount=type=cache,target=/root/.cache/pip pip install --quiet --no-deps --editable .
USER 10001:10001
CMD ["cctboard", "worker"]
