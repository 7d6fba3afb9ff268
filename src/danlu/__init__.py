"""danlu · 丹炉: from raw text to your own large language model.

`danlu.run(recipe)`, `danlu.load(folder)`, `danlu.generate(model, prompt)` and `danlu.Recipe` are the whole surface for
Python; each is imported when first used, so that `import danlu` stays quick and needs no torch.
"""

__version__ = "0.1.0"
