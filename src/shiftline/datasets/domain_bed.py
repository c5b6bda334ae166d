"""The sets of domains of DomainBed (Gulrajani & Lopez-Paz 2021), in the folders that its download makes: DOMAIN/CLASS/images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from shiftline.contracts.require import counted
from shiftline.data.examples import Description
from shiftline.data.family import DatasetFamily, Listing
from shiftline.data.listing import folders_of
from shiftline.errors import DataError


class _Domains(DatasetFamily):
    """Each domain is a split; the group of an image is its domain.

    Attributes
    ----------
    domains : mapping of str to str
        Folder of each split.
    number : int
        Of classes: every domain has all of them.
    """

    domains: ClassVar[Mapping[str, str]] = {}
    number: ClassVar[int] = 0
    groups = "domain"

    def list_split(self, folder: Path, split: str) -> Listing:
        domain = self.domains[split]
        self.require(folder, [domain], split)
        names = [path.name for path in folders_of(folder / domain)]
        if len(names) != self.number:
            raise DataError(
                f"{self.name}/{split}: {folder / domain} has {counted(len(names), 'class folder')} ({', '.join(names[:5])}, ...), "
                f"expected {self.number}. Get it again from {self.source}."
            )
        examples = self.labelled(folder, self.class_folders(folder / domain, names, split), split, group=domain)
        return Listing(examples, tuple(name.replace("_", " ") for name in names), Description(tuple(names)))

    def has(self, folder: Path, split: str) -> bool:
        return (folder / self.domains[split]).is_dir()


class Pacs(_Domains):
    """Photos, art, cartoons and sketches of seven objects."""

    name = "pacs"
    title = "PACS (Li et al. 2017)"
    domains: ClassVar = {"art-painting": "art_painting", "cartoon": "cartoon", "photo": "photo", "sketch": "sketch"}
    splits = tuple(domains)
    number = 7
    classes = "7"
    folders = ("PACS", "pacs")
    layout = "art_painting/CLASS/*.jpg, cartoon/, photo/, sketch/"
    licence = "none given"
    source = "https://github.com/facebookresearch/DomainBed"
    counts: ClassVar = {"art-painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929}


class Vlcs(_Domains):
    """Photos of five classes in four data sets."""

    name = "vlcs"
    title = "VLCS (Fang et al. 2013)"
    domains: ClassVar = {name: name for name in ("Caltech101", "LabelMe", "SUN09", "VOC2007")}
    splits = tuple(domains)
    number = 5
    classes = "5"
    folders = ("VLCS", "vlcs")
    layout = "Caltech101/CLASS/*.jpg, LabelMe/, SUN09/, VOC2007/"
    licence = "those of its four sets"
    source = "https://github.com/facebookresearch/DomainBed"
    counts: ClassVar = {"Caltech101": 1415, "LabelMe": 2656, "SUN09": 3282, "VOC2007": 3376}


class OfficeHome(_Domains):
    """Objects of office and home."""

    name = "office-home"
    title = "Office-Home (Venkateswara et al. 2017)"
    domains: ClassVar = {"art": "Art", "clipart": "Clipart", "product": "Product", "real-world": "Real World"}
    splits = tuple(domains)
    number = 65
    classes = "65"
    folders = ("office_home", "OfficeHomeDataset_10072016", "OfficeHome")
    layout = "Art/CLASS/*.jpg, Clipart/, Product/, Real World/"
    licence = "non-commercial research"
    source = "https://www.hemanthdv.org/officeHomeDataset.html"
    counts: ClassVar = {"art": 2427, "clipart": 4365, "product": 4439, "real-world": 4357}


class TerraIncognita(_Domains):
    """Animals in front of camera traps: a domain is a location."""

    name = "terra-incognita"
    title = "Terra Incognita (Beery et al. 2018)"
    domains: ClassVar = {f"location-{number}": f"location_{number}" for number in (38, 43, 46, 100)}
    splits = tuple(domains)
    number = 10
    classes = "10"
    folders = ("terra_incognita", "TerraIncognita")
    layout = "location_38/CLASS/*.jpg, location_43/, location_46/, location_100/"
    licence = "Community Data License Agreement, permissive"
    source = "https://github.com/facebookresearch/DomainBed"


class DomainNet(_Domains):
    """Six kinds of picture; the WILDS package has a part of it as another set (wilds-domainnet)."""

    name = "domainnet"
    title = "DomainNet (Peng et al. 2019)"
    domains: ClassVar = {name: name for name in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")}
    splits = tuple(domains)
    number = 345
    classes = "345"
    folders = ("domain_net", "DomainNet")
    layout = "clipart/CLASS/*, infograph/, painting/, quickdraw/, real/, sketch/"
    licence = "fair use, non-commercial"
    source = "http://ai.bu.edu/M3SDA/"
