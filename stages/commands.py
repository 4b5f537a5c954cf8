"""Every command by name: its file and one line here; a DVC stage stands in dvc.yaml too."""

STAGES = {
    "prepare": "stages.prepare",
    "extract": "stages.extract",
    "select": "stages.select",
    "finetune": "stages.finetune",
    "train": "stages.train",
    "generate": "stages.generate",
    "classify": "stages.classify",
    "evaluate": "stages.evaluate",
    "package": "stages.package",
    "tsne": "stages.tsne",
    "report": "stages.report",
    "ablation": "stages.ablation",
    "clusterability": "stages.clusterability",
    "fewshot": "stages.fewshot",
    "compare": "stages.compare",
    "metric-learning": "stages.metric_learning",
    "mining": "stages.mining",
}
"""DVC stages whose code `resolve` hashes: name -> module with a `command`."""
TUNED_BACKBONE = "zslcore.evaluation.tuned_backbone:extract_tuned"
"""What `extract` calls where `finetune.level` is `backbone`, by name, so that training is no part of its code else."""
TOOLS = {
    "import": "stages.import_data",
    "download": "stages.download",
    "doctor": "stages.doctor",
    "remove": "stages.remove",
    "rename": "stages.rename",
    "resolve": "stages.resolve",
    "params": "stages.params",
    "tune": "stages.tune",
    "sweep": "stages.sweep",
    "gate": "stages.gate",
    "inspect": "stages.inspect",
    "predict": "stages.predict",
    "clip": "stages.clip",
    "signatures": "stages.signatures",
    "serve": "stages.serve",
    "export": "stages.export",
}
"""Every other command: name -> module with a `command`, or with an `app` where there are subcommands (`import`)."""
