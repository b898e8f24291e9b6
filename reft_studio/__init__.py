"""ReFT Studio: filter a finetuning dataset by refusal feature, finetune under a teacher's guidance, compare.

The method is Refusal-Teacher (Ham et al., arXiv:2506.07356).
"""

__version__ = "0.1.0"
