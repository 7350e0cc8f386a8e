"""AWS Lambda."""

from provision.manifests.serverless.aws import files
from provision.platforms.face import Rendered

FACE = Rendered("lambda", files)
