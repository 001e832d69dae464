"""SFT Lab: supervised fine-tuning that is exact, and small enough to read.

The words of the library are the words of the course::

    import sftlab as sl

    sl.start(seed=0)                              # versions, device, precision, profile
    task = sl.task("headlines")                   # data, loss, metric
    model = sl.load("minilm", task, seed=0)       # checked loading, new head
    run = sl.fit(model, task, sl.full())          # what trains, when, how fast
    run.plot()

Every name below is imported when it is first used, so ``import sftlab`` itself loads neither torch nor
transformers nor matplotlib.
"""

from importlib import import_module

from . import errors  # noqa: F401  (light: `except sl.errors.BadData` works at once)

__version__ = "0.2.0"

# public name -> module that owns it
_OWNERS = {
    "start": "env",
    "find_asset": "assets",
    "task": "sets.catalog",
    "Classify": "tasks.classify",
    "TagTokens": "tasks.classify",
    "CausalLM": "tasks.language",
    "Seq2Seq": "tasks.language",
    "generate": "tasks.generate",
    "entities": "tasks.spans",
    "entity_scores": "tasks.spans",
    "entity_table": "tasks.spans",
    "constrained_tags": "tasks.spans",
    "exact_match": "sets.stories",
    "MultiLabel": "tasks.values",
    "Regress": "tasks.values",
    "Policy": "tasks.values",
    "Segment": "tasks.vision",
    "Detect": "tasks.vision",
    "CTC": "tasks.signals",
    "from_csv": "sets.own_text",
    "from_json_lines": "sets.own_text",
    "from_conversations": "sets.own_conversations",
    "from_conll": "sets.own_sequences",
    "from_parallel_text": "sets.own_sequences",
    "from_image_folder": "sets.own_images",
    "from_coco": "sets.own_scenes",
    "from_mask_folder": "sets.own_scenes",
    "AudioInput": "tasks.signals",
    "Rank": "tasks.rank",
    "TextInput": "tasks.inputs",
    "TensorInput": "tasks.inputs",
    "ImageInput": "tasks.inputs",
    "LossSum": "train.task",
    "Task": "train.task",
    "load": "sets.hub",
    "layer_map": "model.layers",
    "Plan": "train.plan",
    "Stage": "train.plan",
    "head_only": "train.plan",
    "last_k": "train.plan",
    "full": "train.plan",
    "lp_ft": "train.plan",
    "gradual": "train.plan",
    "bias_only": "train.plan",
    "norm_only": "train.plan",
    "surgical": "train.plan",
    "l2_sp": "train.plan",
    "lora": "train.plan",
    "plan": "train.plan",
    "fit": "train.fit",
    "resume": "train.fit",
    "add_adapters": "model.adapters",
    "merge_adapters": "model.adapters",
    "ema": "train.average",
    "swa": "train.average",
    "Distill": "tasks.transfer",
    "pseudo_label": "tasks.transfer",
    "evaluate": "train.evaluate",
    "predict": "train.evaluate",
    "Run": "train.run",
    "majority": "study.baselines",
    "zero_shot": "study.baselines",
    "lr_find": "study.finder",
    "batch_find": "study.finder",
    "soup": "study.soup",
    "greedy_soup": "study.soup",
    "wise_ft": "study.soup",
    "temperature_scale": "study.calibrate",
    "expected_calibration_error": "study.calibrate",
    "compare": "study.compare",
    "Comparison": "study.compare",
    "doctor": "study.doctor",
    "Diagnosis": "study.doctor",
    "show": "study.plots",
    "axes": "study.plots",
    "check": "teach.exercises",
    "progress": "teach.progress",
    "Table": "table",
    "logits_explorer": "teach.widgets.logits",
    "loss_surface": "teach.widgets.surface",
    "optimizer_race": "teach.widgets.race",
    "freezing_painter": "teach.widgets.freezing",
    "augmentation_explorer": "teach.widgets.augmentation",
    "tokenizer_explorer": "teach.widgets.tokens",
    "curve_reader": "teach.widgets.curves",
    "quiz": "teach.widgets.quiz",
}

__all__ = ["__version__", *_OWNERS]


def __getattr__(name: str):
    if name in _OWNERS:
        value = getattr(import_module(f"{__name__}.{_OWNERS[name]}"), name)
        globals()[name] = value  # the next access costs nothing
        return value
    raise AttributeError(f"module 'sftlab' has no attribute {name!r}; it has: {', '.join(sorted(_OWNERS))}")


def __dir__():
    return sorted(__all__)
