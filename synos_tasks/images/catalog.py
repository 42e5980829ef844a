"""The images of docker/build, by name: the builder, the toolchain and the boot tester, all on bookworm."""

from __future__ import annotations

from synos_tasks.images.recipe import Recipe

DOCKERFILE = "docker/build/Dockerfile"
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("builder", DOCKERFILE, "runtime", "docker/build/image"),
        Recipe("toolchain", DOCKERFILE, "toolchain", "docker/build/image"),
        Recipe("boot", "docker/build/boot.Dockerfile"),
    )
}
