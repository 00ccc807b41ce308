# The S3 server of the tests, for a pod. The build context is tests/moto.
FROM python:3.11-slim-bookworm
COPY requirements.txt /tmp/
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /tmp/requirements.txt
USER 10001:0
ENV HOME=/tmp
EXPOSE 5001
CMD ["python", "-c", "from moto.server import main; main(['--host', '0.0.0.0', '--port', '5001'])"]
