"""f^B of SPAct: networks whose embeddings a contrastive loss compares. `CONTRASTIVE[name](crop=..., size=..., seed=...)` -> keras.Model."""

from mppar_tf.models.contrastive import resnet50_projection

CONTRASTIVE = {
    "resnet50_projection": resnet50_projection.build,
}
