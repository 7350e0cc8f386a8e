"""Google Cloud Functions, 2nd generation."""

from provision.manifests.serverless.google import files
from provision.platforms.face import Rendered

FACE = Rendered("cloud-function", files)
