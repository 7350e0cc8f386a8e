#!/bin/sh
# Deploys resize-image of cres as a Cloud Function, 2nd generation. Written by deploy render; the next one
# replaces it. To change it: deploy.toml, or a template of the project's own, templates/gcloud/deploy.sh.j2.
#
#   ./deploy.sh PROJECT_FOLDER REGION
#
# What the project has committed is what goes there, in app/, beside these files; so no .env does.
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

gcloud functions deploy 'cres-resize-image' --gen2 --region="$region" --runtime=python312 \
    --source="$source" --entry-point=handle --trigger-http \
    --allow-unauthenticated \
    --memory=512Mi --cpu=1 --timeout=30s \
    --clear-max-instances \
    --clear-secrets \
    --clear-env-vars
