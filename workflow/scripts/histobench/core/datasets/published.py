"""The two public data sets as their authors publish them: files, addresses, hashes and counts. Data only."""

from histobench.core.files import Remote

ZENODO = "https://zenodo.org/records/2546921/files"

# PCam: Veeling et al. 2018, arXiv:1806.03962, CC0. The md5 list in the authors' README swaps valid and test; these are
# the digests of the files themselves.
PCAM_FILES: dict[str, Remote] = {
    f"camelyonpatch_level_2_split_{name}": Remote(
        f"{ZENODO}/camelyonpatch_level_2_split_{name}?download=1", size, sha256, md5
    )
    for name, size, sha256, md5 in (
        (
            "train_x.h5.gz",
            6421353462,
            "d619e741468a7ab35c7e4a75e6821b7e7e6c9411705d45708f2a0efc8960656c",
            "1571f514728f59376b705fc836ff4b63",
        ),
        (
            "train_y.h5.gz",
            21378,
            "b74126d2c01b20d3661f9b46765d29cf4e4fba6faba29c8e0d09d406331ab75a",
            "35c2d7259d906cfc8143347bb8e05be7",
        ),
        ("train_meta.csv", None, None, "5a3dd671e465cfd74b5b822125e65b0a"),
        (
            "valid_x.h5.gz",
            805965320,
            "f82ee1670d027b4ec388048d9eabc2186b77c009655dae76d624c0ecb053ccb2",
            "d5b63470df7cfa627aeec8b9dc0c066e",
        ),
        (
            "valid_y.h5.gz",
            3038,
            "ce1ae30f08feb468447971cfd0472e7becd0ad96d877c64120c72571439ae48c",
            "2b85f58b927af9964a4c15b8f7e8f179",
        ),
        ("valid_meta.csv", None, None, "67589e00a4a37ec317f2d1932c7502ca"),
        (
            "test_x.h5.gz",
            800875929,
            "79174c2201ad521602a5888be8f36ee10875f37403dd3f2086caf2182ef87245",
            "d8c2d60d490dbd479f8199bdfa0cf6ec",
        ),
        (
            "test_y.h5.gz",
            3040,
            "0a522005fccc8bbd04c5a117bfaf81d8da2676f03a29d7499f71d0a0bd6068ef",
            "60a7035772fbdb7f34eb86d4420cf66a",
        ),
        ("test_meta.csv", None, None, "3455fd69135b66734e1008f3af684566"),
    )
}
PCAM_EXPECTED = {"train": 262_144, "valid": 32_768, "test": 32_768}
PCAM_PATCH_SIZE = 96  # pixels

_CASES = "https://raw.githubusercontent.com/choosehappy/public/master/DL%20tutorial%20Code/6-idc"

# IDC: Cruz-Roa et al. 2014; the split and the archive are those of Janowczyk and Madabhushi 2016. No digest of the
# archive is published.
IDC_FILES: dict[str, Remote] = {
    "IDC_regular_ps50_idx5.zip": Remote("http://andrewjanowczyk.com/wp-static/IDC_regular_ps50_idx5.zip"),
    "cases_train.txt": Remote(
        f"{_CASES}/cases_train.txt", sha256="e20c87ea26a3b1b048ba09aa7b2188880c8797d1ea1add77f9fa4e4790b73409"
    ),
    "cases_val.txt": Remote(
        f"{_CASES}/cases_val.txt", sha256="e68089ccef2e35e8a5b8b5b6200fa4f5440b87246aecf7daefcfce344aa6eb98"
    ),
    "cases_test.txt": Remote(
        f"{_CASES}/cases_test.txt", sha256="8a4d9910a0591cb5dcbc32317d3870433985d22105902cc739f4bf4c8e84e46f"
    ),
}
IDC_EXPECTED = {"patches": 277_524, "patients": 279}
IDC_PATCH_SIZE = 50  # pixels

FILES = {"pcam": PCAM_FILES, "idc": IDC_FILES}
EXPECTED = {"pcam": PCAM_EXPECTED, "idc": IDC_EXPECTED}
PATCH_SIZE = {"pcam": PCAM_PATCH_SIZE, "idc": IDC_PATCH_SIZE}
