#!/usr/bin/env bash
# Makes the secrets that the manifests name, in the namespaces of the servers and of the pipelines (both must be there;
# NAMESPACE names the second where it is another), with random passwords. Nothing is written to a file, no value is on a command line, and nothing that exists is
# changed: kubectl stops where a secret is already there.
#
#   k8s/secrets/create.sh local|gpu|standalone                        database and S3 server in the cluster
#   DATABASE_URI=postgresql://... AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... TLS_CERTIFICATE=file TLS_KEY=file \
#       k8s/secrets/create.sh cloud                                   the provider's
#   k8s/secrets/create.sh clients                                     MLflow's user of the tasks alone
#   k8s/secrets/create.sh reader                                      MLflow's user of the champion alone
#   REGISTRY=registry.example.org REGISTRY_USER=... REGISTRY_PASSWORD=... \
#       k8s/secrets/create.sh registry                                the pull secret of the component registry
#
# With --dry-run as second argument the secrets are printed and none is made.
set -euo pipefail

overlay=${1:-}
case $overlay in
local | gpu | cloud | standalone | clients | reader | registry) ;;
*)
    echo "error overlay is \`$overlay\`; expected local, gpu, cloud, standalone, clients, reader or registry: k8s/secrets/create.sh local" >&2
    exit 1
    ;;
esac
namespace=tagscale
if [ "$overlay" = standalone ]; then namespace=kubeflow; fi
servers=(--namespace tagscale-servers)
tasks=(--namespace "${NAMESPACE:-$namespace}")
if [ "${2:-}" = --dry-run ]; then
    servers+=(--dry-run=client --output=yaml)
    tasks+=(--dry-run=client --output=yaml)
elif [ -n "${2:-}" ]; then
    echo "error found $2; expected --dry-run or nothing" >&2
    exit 1
else
    for name in "${servers[1]}" "${tasks[1]}"; do
        if ! kubectl get namespace "$name" >/dev/null; then
            echo "error no namespace $name; make the namespaces first (docs/cluster.md). No secret was made" >&2
            exit 1
        fi
    done
fi

password() { # 32 letters and digits: fit for a URI and for an ini file as they are
    local random
    random=$(head -c 200 /dev/urandom | base64 | tr -dc 'A-Za-z0-9')
    printf %s "${random:0:32}"
}

separator() {
    if [ "${#servers[@]}" -gt 2 ]; then echo ---; fi
}

clients() { # tasks and trainings log in with these; the server makes the user when it starts
    local client_password
    client_password=$(password)
    kubectl create secret generic tagscale-mlflow-client "${servers[@]}" \
        --from-file=MLFLOW_TRACKING_USERNAME=<(printf %s tagscale) \
        --from-file=MLFLOW_TRACKING_PASSWORD=<(printf %s "$client_password")
    separator
    kubectl create secret generic tagscale-mlflow-client "${tasks[@]}" \
        --from-file=MLFLOW_TRACKING_USERNAME=<(printf %s tagscale) \
        --from-file=MLFLOW_TRACKING_PASSWORD=<(printf %s "$client_password")
}

reader() { # the champion logs in with these
    local reader_password
    reader_password=$(password)
    kubectl create secret generic tagscale-mlflow-reader "${servers[@]}" \
        --from-file=MLFLOW_TRACKING_USERNAME=<(printf %s tagscale-reader) \
        --from-file=MLFLOW_TRACKING_PASSWORD=<(printf %s "$reader_password")
    separator
    kubectl create secret generic tagscale-mlflow-reader "${tasks[@]}" \
        --from-file=MLFLOW_TRACKING_USERNAME=<(printf %s tagscale-reader) \
        --from-file=MLFLOW_TRACKING_PASSWORD=<(printf %s "$reader_password")
}

registry() { # for nodes without rights of their own on the registry
    : "${REGISTRY:?address of the registry, as in the name of an image}"
    : "${REGISTRY_USER:?user who may pull from it}"
    : "${REGISTRY_PASSWORD:?password or token of that user}"
    local login
    login=$(printf %s:%s "$REGISTRY_USER" "$REGISTRY_PASSWORD" | base64 | tr -d '\n')
    kubectl create secret docker-registry tagscale-registry "${servers[@]}" \
        --from-file=.dockerconfigjson=<(printf '{"auths": {"%s": {"auth": "%s"}}}' "$REGISTRY" "$login")
    separator
    kubectl create secret docker-registry tagscale-registry "${tasks[@]}" \
        --from-file=.dockerconfigjson=<(printf '{"auths": {"%s": {"auth": "%s"}}}' "$REGISTRY" "$login")
}

case $overlay in
clients | reader | registry)
    "$overlay"
    exit
    ;;
esac

if [ "$overlay" = cloud ]; then
    : "${DATABASE_URI:?postgresql://user:password@host:5432/mlflow of the database for MLflow}"
    : "${AWS_ACCESS_KEY_ID:?key that may read and write the bucket for artifacts}"
    : "${AWS_SECRET_ACCESS_KEY:?secret to the key AWS_ACCESS_KEY_ID}"
    : "${TLS_CERTIFICATE:?file with the certificate of the host name of MLflow}"
    : "${TLS_KEY:?file with the private key of that certificate}"
    database_uri=$DATABASE_URI
    access_key=$AWS_ACCESS_KEY_ID
    secret_key=$AWS_SECRET_ACCESS_KEY
    kubectl create secret tls tagscale-mlflow-tls "${servers[@]}" --cert="$TLS_CERTIFICATE" --key="$TLS_KEY"
    separator
else
    postgres_password=$(password)
    database_uri=postgresql://mlflow:$postgres_password@tagscale-postgres:5432/mlflow
    access_key=tagscale
    secret_key=$(password)
    kubectl create secret generic tagscale-postgres "${servers[@]}" \
        --from-file=POSTGRES_PASSWORD=<(printf %s "$postgres_password")
    separator
fi

# The server alone has these: where its database is, and the keys of its artifacts. `%` is a sign of its own in ini files.
# A log-in is remembered for a minute: checking a password takes 0.2 s of a core, and a study asks hundreds of times.
kubectl create secret generic tagscale-s3 "${servers[@]}" \
    --from-file=AWS_ACCESS_KEY_ID=<(printf %s "$access_key") \
    --from-file=AWS_SECRET_ACCESS_KEY=<(printf %s "$secret_key")
separator
kubectl create secret generic tagscale-mlflow-server "${servers[@]}" \
    --from-file=MLFLOW_BACKEND_STORE_URI=<(printf %s "$database_uri") \
    --from-file=MLFLOW_FLASK_SERVER_SECRET_KEY=<(password) \
    --from-file=MLFLOW_AUTH_ADMIN_PASSWORD=<(password) \
    --from-file=basic_auth.ini=<(printf '[mlflow]\ndefault_permission = READ\nauth_cache_ttl_seconds = 60\ndatabase_uri = %s\n' "${database_uri//%/%%}")
separator
clients
separator
reader
