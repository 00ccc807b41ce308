"""Converts the licence of a VRM 0.x avatar to the terms of VRM 1.0.

The result allows nothing that the source does not allow. Where the source says nothing, it gets VRM 1.0's most
restrictive term.
"""

from pathlib import Path

import bpy

from ..job import Job

_PERMISSIONS = {
    "OnlyAuthor": "onlyAuthor",
    "ExplicitlyLicensedPerson": "onlySeparatelyLicensedPerson",
    "Everyone": "everyone",
}

# Creative Commons licences of VRM 0.x; its specification means version 4.0.
_COMMONS = {
    "CC0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC_BY": "https://creativecommons.org/licenses/by/4.0/",
    "CC_BY_NC": "https://creativecommons.org/licenses/by-nc/4.0/",
    "CC_BY_SA": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC_BY_NC_SA": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "CC_BY_ND": "https://creativecommons.org/licenses/by-nd/4.0/",
    "CC_BY_NC_ND": "https://creativecommons.org/licenses/by-nc-nd/4.0/",
}


def fill(job: Job, meta: bpy.types.PropertyGroup, older: bpy.types.PropertyGroup) -> None:
    """Fills in the meta of a VRM 1.0, which needs an author and a licence, unless it has them."""
    if meta.vrm_name and len(meta.authors):
        return
    if any((older.title, older.author, older.contact_information, older.reference, older.other_license_url)):
        _translate(meta, older)
        job.warn("the licence of VRM 0.x was put in VRM 1.0's terms, which allow nothing that it does not allow")
    else:
        job.warn("a vrm file names its author and its licence: unknown and the most restrictive were filled in")
    meta.vrm_name = meta.vrm_name or Path(job.input).stem
    if not len(meta.authors):
        meta.authors.add().value = "unknown"


def _translate(meta: bpy.types.PropertyGroup, older: bpy.types.PropertyGroup) -> None:
    meta.vrm_name, meta.version = older.title, older.version
    meta.contact_information = older.contact_information
    meta.thumbnail_image = older.texture
    if older.author:
        meta.authors.add().value = older.author
    licence = older.license_name
    if older.reference:
        meta.references.add().value = older.reference
    meta.avatar_permission = _PERMISSIONS[older.allowed_user_name]
    meta.allow_excessively_violent_usage = older.violent_ussage_name == "Allow"
    meta.allow_excessively_sexual_usage = older.sexual_ussage_name == "Allow"
    commercial = older.commercial_ussage_name == "Allow" and "_NC" not in licence
    # VRM 0.x does not distinguish persons and companies.
    meta.commercial_usage = "personalProfit" if commercial else "personalNonProfit"
    meta.credit_notation = "unnecessary" if licence == "CC0" else "required"
    meta.allow_redistribution = licence in _COMMONS
    changeable = licence in _COMMONS and "_ND" not in licence
    meta.modification = "allowModificationRedistribution" if changeable else "prohibited"
    meta.other_license_url = _addresses(_COMMONS.get(licence, older.other_license_url), older.other_permission_url)


def _addresses(licence: str, permission: str) -> str:
    """The addresses of both in VRM 1.0's one field, in the form that the VRM consortium's migration uses."""
    if licence and permission and licence != permission:
        return f"'{licence}', '{permission}'"
    return licence or permission
