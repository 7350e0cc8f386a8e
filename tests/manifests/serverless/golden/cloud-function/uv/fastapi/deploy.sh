#!/bin/sh
# Deploys fastapi of cres as a Cloud Function, 2nd generation. Written by deploy render; the next one
# replaces it. To change it: deploy.toml, or a template of the project's own, templates/gcloud/deploy.sh.j2.
#
#   ./deploy.sh PROJECT_FOLDER REGION
#
# What the project has committed is what goes there, in app/, beside these files; so no .env does.
# Its secrets are in Secret Manager already, and its account may read them (roles/secretmanager.secretAccessor):
#   printf %s "$MINIO_ACCESS_KEY" | gcloud secrets create cres-MINIO_ACCESS_KEY --data-file=-
#   printf %s "$MINIO_SECRET_KEY" | gcloud secrets create cres-MINIO_SECRET_KEY --data-file=-
set -eu
[ $# -eq 2 ] || { echo "usage: $0 PROJECT_FOLDER REGION" >&2; exit 2; }
project="$1"
region="$2"
here="$(cd "$(dirname "$0")" && pwd)"
source="$(mktemp -d)"
trap 'rm -rf "$source"' EXIT
mkdir "$source/app"
git -C "$project" archive HEAD >"$source/app.tar"
tar -xf "$source/app.tar" -C "$source/app"
rm "$source/app.tar"
uv export --quiet --project "$source/app" --frozen --no-dev --no-emit-project \
    --output-file "$source/app/requirements.txt"
cp "$here/main.py" "$here/requirements.txt" "$source"

gcloud functions deploy 'cres-fastapi' --gen2 --region="$region" --runtime=python312 \
    --source="$source" --entry-point=handle --trigger-http \
    --no-allow-unauthenticated \
    --memory=3815Mi --cpu=2 --timeout=60s \
    --max-instances=20 \
    --set-secrets=MINIO_ACCESS_KEY=cres-MINIO_ACCESS_KEY:latest,MINIO_SECRET_KEY=cres-MINIO_SECRET_KEY:latest \
    --env-vars-file="$here/env.yaml"
