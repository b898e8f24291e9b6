"""Defenses against harmful finetuning, registered by name."""

from __future__ import annotations

from reft_studio.defenses.defense import Defense
from reft_studio.registry import Registry

DEFENSES: Registry[type[Defense]] = Registry(
    "method",
    {
        "sft": "reft_studio.defenses.sft:Sft",
        "aligned_sft": "reft_studio.defenses.aligned_sft:AlignedSft",
        "sa_ft": "reft_studio.defenses.sa_ft:SaFt",
        "seal": "reft_studio.defenses.seal:Seal",
        "safe_instruct": "reft_studio.defenses.safe_instruct:SafeInstruct",
        "vlguard": "reft_studio.defenses.vlguard:Vlguard",
        "constrained_sft": "reft_studio.defenses.constrained_sft:ConstrainedSft",
        "asft": "reft_studio.defenses.asft:Asft",
        "panacea": "reft_studio.defenses.panacea:Panacea",
        "antidote": "reft_studio.defenses.antidote:Antidote",
        "resta": "reft_studio.defenses.resta:Resta",
        "somf": "reft_studio.defenses.somf:Somf",
        "buffer_and_reinforce": "reft_studio.defenses.buffer_and_reinforce:BufferAndReinforce",
        "lisa": "reft_studio.defenses.lisa:Lisa",
        "vaccine": "reft_studio.defenses.vaccine:Vaccine",
        "t_vaccine": "reft_studio.defenses.t_vaccine:TVaccine",
        "repnoise": "reft_studio.defenses.repnoise:RepNoise",
        "booster": "reft_studio.defenses.booster:Booster",
        "safe_lora": "reft_studio.defenses.safe_lora:SafeLora",
        "ldifs": "reft_studio.defenses.ldifs:Ldifs",
        "filter_only": "reft_studio.defenses.filter_only:FilterOnly",
        "distill_only": "reft_studio.defenses.distill_only:DistillOnly",
        "ref_teacher": "reft_studio.defenses.ref_teacher:RefTeacher",
    },
)
