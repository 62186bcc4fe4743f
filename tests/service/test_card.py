from cyclegan_dist.service.card import without_folders


def test_folders_are_left_out_and_facts_stay() -> None:
    card = {
        "what": "images in [-1, 1]",
        "nimg": 40,
        "data": [{"source": "/home/ann/data/horse2zebra/", "samples": 4}],
        "preprocess": {"path": "s3://secret-bucket/team/zebra?x=/y", "flip": True},
        "initialised_from": {"source": "models:/zebra/3", "folder": "..\\runs\\first"},
    }
    assert without_folders(card) == {
        "what": "images in [-1, 1]",
        "nimg": 40,
        "data": [{"source": "horse2zebra", "samples": 4}],
        "preprocess": {"path": "zebra", "flip": True},
        "initialised_from": {"source": "models:/zebra/3", "folder": "first"},
    }
