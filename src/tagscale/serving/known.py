"""Routes about what a server knows beside its models: a dataset's tracks with their truth, and corrections of it."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from tagscale.catalog.corrections import Correction, Unwritten, append
from tagscale.runtime.errors import TagscaleError
from tagscale.serving.dataset import Dataset
from tagscale.serving.neighbours import Neighbours, folder_of
from tagscale.serving.server.inputs import check_words

MOST_FOUND, MOST_SIMILAR = 100, 10
MOST_CORRECTIONS, LONGEST_TEXT, LONGEST_EMBEDDING = 100, 1000, 1 << 16

Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class Sent(BaseModel):
    """A body, which has nothing but these fields: another one would have no effect."""

    model_config = ConfigDict(extra="forbid")


class Corrected(Sent):
    """A tag and its right value."""

    tag: Text
    value: float = Field(ge=0, le=1)


class Corrections(Sent):
    """The body of POST /corrections: what one person says of one recording."""

    who: Text
    track_id: Text = ""
    file: Text = ""
    audio_sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    corrections: list[Corrected] = Field(min_length=1, max_length=MOST_CORRECTIONS)


class Similar(Sent):
    """The body of POST /dataset/similar.

    sha256: of the model that gave the embedding.
    without: a track that is not wanted: the one that the embedding is of.
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{16,64}$")
    embedding: list[float] = Field(min_length=1, max_length=LONGEST_EMBEDDING)
    without: Text = ""


def known_routes(data: Path | None, corrections: Path | None) -> APIRouter:
    """GET /dataset, the routes below it, and POST /corrections. Arguments and errors as of `page.page_routes`."""
    router, dataset = APIRouter(), Dataset(data) if data else None

    @router.get("/dataset")
    def facts() -> dict[str, Any]:
        """Name, hash and number of tracks of the dataset, where there is one, and whether corrections are taken."""
        about: dict[str, Any] = {"name": None}
        if dataset:
            catalog = dataset.catalog
            about = {"name": catalog.name, "hash": dataset.hash, "tracks": len(catalog.tracks)}
        return about | {"corrections": corrections is not None}

    if dataset and data:
        router.include_router(_of_dataset(dataset, data), prefix="/dataset")
    if corrections:

        @router.post("/corrections", status_code=201)
        def correct(sent: Corrections) -> dict[str, Any]:
            """Append corrections of a recording's tags, each as a row, to the server's file."""
            try:
                append(corrections, _rows(sent, dataset))
            except Unwritten as error:
                raise HTTPException(503, str(error)) from None
            except TagscaleError as error:
                raise HTTPException(422, str(error)) from None
            return {"recorded": len(sent.corrections)}

    return router


def _of_dataset(dataset: Dataset, data: Path) -> APIRouter:
    """Tracks with their sound and truth, and those that sound alike."""
    router, indices = APIRouter(dependencies=[Depends(_known_query)]), dict[Path, Neighbours]()

    def known(track_id: str) -> str:
        if track_id not in dataset:
            raise HTTPException(404, f"The dataset {dataset.catalog.name} has no track {track_id!r}.")
        return track_id

    @router.get("/tracks")
    def tracks(search: Text = "", limit: Annotated[int, Query(ge=1, le=MOST_FOUND)] = 20) -> dict[str, Any]:
        first, more = dataset.search(search, limit)
        return {"tracks": first, "more": more}

    @router.get("/track")
    def track(track_id: str = "", audio_sha256: str = "") -> dict[str, Any]:
        if audio_sha256 and not track_id:
            track_id = dataset.of_sound(audio_sha256) or ""
            if not track_id:
                raise HTTPException(404, f"No track of the dataset {dataset.catalog.name} has this sound.")
        return dataset.track(known(track_id))

    @router.get("/audio")
    def audio(track_id: str) -> Response:
        file = dataset.wav(known(track_id))
        if file is None:
            raise HTTPException(404, f"The store has no sound of track {track_id!r}: it could not be decoded.")
        size, parts = file
        return StreamingResponse(parts, media_type="audio/wav", headers={"Content-Length": str(size)})

    @router.post("/similar")
    def similar(asked: Similar) -> dict[str, Any]:
        try:
            folder = folder_of(data, dataset.store.hash, asked.sha256)  # of any longer or shorter form of it
            if folder not in indices:
                indices[folder] = Neighbours.load(data, dataset.store.hash, asked.sha256)
        except TagscaleError as error:
            raise HTTPException(404, str(error)) from None
        try:
            nearest = indices[folder].nearest(asked.embedding, MOST_SIMILAR + 1)
        except TagscaleError as error:
            raise HTTPException(422, str(error)) from None
        others = [(track, cosine) for track, cosine in nearest if track in dataset and track != asked.without]
        return {"tracks": [dataset.named(track) | {"similarity": cosine} for track, cosine in others[:MOST_SIMILAR]]}

    return router


def _known_query(request: Request) -> None:
    """Raises HTTPException, 400, for a word of the query that the route does not take."""
    taken = [field.alias for field in request.scope["route"].dependant.query_params]
    check_words(request.query_params, taken, "The query")


def _rows(sent: Corrections, dataset: Dataset | None) -> list[Correction]:
    """The rows of what was sent. What the dataset knows of a track comes from the dataset.

    Raises:
        TagscaleError: no recording is named; a track or a tag that the dataset lacks.
    """
    track_id, file, sound = sent.track_id, sent.file, sent.audio_sha256
    if not (track_id or file or sound):
        raise TagscaleError("Found no track_id, file or audio_sha256, expected one that names the recording.")
    if dataset:
        track_id = track_id or dataset.of_sound(sound) or ""
        if track_id and track_id not in dataset:
            raise TagscaleError(f"The dataset {dataset.catalog.name} has no track {track_id!r}.")
        if track_id:
            track = dataset.track(track_id)
            file, sound = track["path"], track["audio_sha256"] or sound
            if lacking := [one.tag for one in sent.corrections if one.tag not in track["truth"]]:
                raise TagscaleError(f"The dataset {dataset.catalog.name} has no tag {lacking[0]!r}.")
    return [Correction(sent.who, track_id, file, sound, one.tag, one.value) for one in sent.corrections]
