# The product for production: one image for the gateway, the workers and the migration.
# It holds no secret and no settings; docker-compose.yml shows which ones it needs.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_USE_PEP517=1
WORKDIR /srv/zjj
COPY requirements/build.txt requirements/run.txt requirements/
# By hash only, and without build isolation: nothing is fetched that no lock names.
RUN python -m venv .venv \
 && .venv/bin/pip install --quiet --require-hashes -r requirements/build.txt \
 && .venv/bin/pip install --quiet --require-hashes --no-build-isolation -r requirements/run.txt
COPY pyproject.toml LICENSE ./
COPY models models/
COPY integrations integrations/
COPY tasks tasks/
COPY workers workers/
RUN .venv/bin/pip install --quiet --no-deps --no-build-isolation . \
 && .venv/bin/pip uninstall --quiet --yes setuptools pip

FROM python:3.11-slim
ENV PATH=/srv/zjj/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/zjj
COPY --from=build /srv/zjj/.venv /srv/zjj/.venv
# An account by number needs no entry in /etc/passwd and owns nothing in the image.
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["zjj"]
CMD ["--help"]
