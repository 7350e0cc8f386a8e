"""All rooms, as Fabric finds them."""

from __future__ import annotations

from invoke.collection import Collection

from provision.tasks import hosts, parts, rooms

ns = Collection(
    *(
        each.task
        for each in (
            parts.check,
            parts.render,
            rooms.plan,
            rooms.up,
            rooms.promote,
            rooms.rollback,
            rooms.down,
            rooms.status,
            rooms.smoke,
            rooms.history,
            rooms.logs,
            rooms.execute,
        )
    ),
    Collection("image", *(each.task for each in (parts.build_images, parts.smoke_image, parts.promote_image))),
    Collection("native", parts.build_native.task),
    Collection("host", hosts.bootstrap.task, hosts.trust.task),
)
