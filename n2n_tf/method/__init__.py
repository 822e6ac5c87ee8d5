"""The method: sub-samplers, loss, schedules and the trainer of Neighbor2Neighbor."""
