"""The container image of every component: tagscale with the extras `main` and `pipelines`; tasks install nothing.

TAGSCALE_IMAGE in the environment of `tagscale pipelines compile` names another image, by tag or by digest.
"""

import os

IMAGE = os.environ.get("TAGSCALE_IMAGE", "tagscale:latest")
