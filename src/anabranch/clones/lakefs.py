"""Clones of what a lakeFS branch holds: a branch of its own, opened on the source's head, merged back at promotion.

Branches carry no comments, so the mark is the metadata of an empty commit, and a tag whose name holds the record's id leads
to it: a branch is ours if it contains the commit of one of our tags. That commit is made on a branch whose name holds the id
as well, and the copy is then opened on it in one step; so a crash leaves nothing that can't be told from other people's.

Only what is committed to the source is in the copy. Knows nothing of sandboxes but the record.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from anabranch.clones.base import CloneRecord, Found, Made, Mark, NameRule, Surroundings, not_ours
from anabranch.errors import CloneError, ConflictError
from anabranch.settings.clones import BaseClone, LakeFSClone
from anabranch.settings.fields import resolve_references

if TYPE_CHECKING:
    import lakefs

_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_SOURCE = re.compile(r"([a-z0-9][a-z0-9-]{2,62})/([A-Za-z0-9_][A-Za-z0-9_-]*)")
_MARK, _NAME = "anabranch.mark", "anabranch.branch"
_PREFIX = "anabranch_"  # of `CloneRecord.making`
_HINTS = {
    401: "look at its credentials in anabranch.toml, and whether their variables hold what they should",
    403: "its credentials may not do this: they need fs:CreateBranch, fs:CreateCommit, fs:CreateTag, fs:Delete… there",
    404: "look whether the repository and the branch of its source are there",
}


class LakeFS:
    """A `Provider` for ``provider = "lakefs"``."""

    cost = "A pointer to a commit: neither time nor space, whatever the branch holds."
    locks = "Nothing: source and copy are read and written meanwhile, and nobody waits."

    def __init__(self, settings: BaseClone, around: Surroundings) -> None:
        assert isinstance(settings, LakeFSClone)
        self._settings = settings
        self._around = around
        self.name_rule = NameRule(200)
        text = resolve_references(settings.source, around.environ, place=around.place("source"))
        match = _SOURCE.fullmatch(text)
        if match is None:
            raise CloneError(
                f"the source of the clone {around.clone} is no branch of a repository: {text!r}",
                hint="write it like shop/main",
                place=around.place("source"),
            )
        self._repository_id, self._source = match[1], match[2]
        self._found: lakefs.Repository | None = None

    def source_name(self) -> str:
        """The branch's name, without its repository."""
        return self._source

    def open(self, record: CloneRecord) -> Made:
        """See `Provider.open`."""
        _check(record.name)
        with self._told("made"):
            if self._has_branch(record.name):
                self._require_ours(record)
                self._drop_branch(record.making)
                return Made(new=False)
            marked = self._make(record)
            self._repository.branch(record.name).create(marked)
            self._drop_branch(record.making)
            return Made(new=True, how=f"opened a branch on {self._source}")

    def refresh(self, record: CloneRecord) -> Made:
        """See `Provider.refresh`. For the moment between the old branch and the new one there is none of that name."""
        _check(record.name)
        with self._told("refreshed"):
            there = self._has_branch(record.name)
            if there:
                self._require_ours(record)
            marked = self._make(record)
            if there:
                self._drop_branch(record.name)
            self._repository.branch(record.name).create(marked)
            self._drop_branch(record.making)
            self._drop_tags(record, but=marked)
            return Made(new=True, how=f"opened a branch on {self._source}")

    def drop(self, record: CloneRecord) -> bool:
        """See `Provider.drop`. What was never committed goes with it."""
        with self._told("dropped"):
            was = self._drop_branch(record.making)
            if _BRANCH.fullmatch(record.name) and self._is_ours(record):
                was = self._drop_branch(record.name) or was
            # Last: without its tag nothing would tell that the branch is ours.
            return self._drop_tags(record) or was

    def exists(self, record: CloneRecord) -> bool:
        """See `Provider.exists`."""
        with self._told("looked for"):
            return _BRANCH.fullmatch(record.name) is not None and self._is_ours(record)

    def list(self, project: str) -> Sequence[Found]:
        """See `Provider.list`."""
        found: dict[str, Found] = {}
        with self._told("looked for"):
            for tag in self._repository.tags(prefix=_PREFIX):
                commit = tag.get_commit()
                name = (commit.metadata or {}).get(_NAME)
                mark = self._mark_of(commit, project)
                if mark is not None and name and self._contains(name, commit.id):
                    found[mark.id] = Found(
                        name, mark, created_at=datetime.fromtimestamp(commit.creation_date, UTC)
                    )
            making: Any
            for making in self._repository.branches(prefix=_PREFIX):
                mark = self._mark_of(making.get_commit(), project)
                if mark is not None and mark.id not in found:
                    found[mark.id] = Found(making.id, mark)
        return sorted(found.values(), key=lambda one: one.name)

    def address(self, name: str | None) -> str:
        """``lakefs://repository/branch``."""
        return f"lakefs://{self._repository_id}/{self._source if name is None else name}"

    def close(self) -> None:
        """See `Provider.close`."""
        self._found = None

    # back into the source

    def check_publish(self, record: CloneRecord) -> None:
        """See `Publisher.check_publish`. Whether the merge meets a conflict only the merge can tell."""
        with self._told("merged"):
            self._require_there(record)

    def publish(self, record: CloneRecord, keep: Callable[[Mapping[str, Any]], None]) -> Sequence[str]:
        """See `Publisher.publish`: the merge of `promote`."""
        merged = self.promote(record)
        keep({"merged": merged})
        return () if merged is None else (f"{self._repository_id}/{self._source}",)

    def promote(self, record: CloneRecord, *, message: str | None = None) -> str | None:
        """Merges the copy into its source: one commit there, or none. What is not committed in the copy is, before.

        It may be repeated: what is merged already is not merged again.

        Args:
            record: The copy's.
            message: Of the merge.

        Returns:
            The id of the merge's commit; None where there was nothing to merge.

        Raises:
            ConflictError: both sides have changed an object, and ``merge_strategy`` is ``"refuse"``; nothing was merged.
            CloneError: the copy is not there, or not ours.
        """
        from lakefs.exceptions import ConflictException

        with self._told("merged"):
            self._require_there(record)
            branch = self._repository.branch(record.name)
            metadata = {_MARK: str(record.mark)}
            if next(branch.uncommitted(max_amount=1), None) is not None:
                branch.commit(f"Work of the sandbox {record.sandbox}", metadata=metadata)
            if next(self._repository.branch(self._source).diff(record.name, max_amount=1), None) is None:
                return None
            strategy = self._settings.merge_strategy
            options: dict[str, Any] = {} if strategy == "refuse" else {"strategy": strategy}
            try:
                merged: str = branch.merge_into(
                    self._source,
                    message=message or f"Promote the sandbox {record.sandbox}",
                    metadata=metadata,
                    **options,
                )
            except ConflictException as error:
                raise ConflictError(
                    f"{self._source} has changed what the clone {record.name} changed: {_first(error)}",
                    hint=f"merge {self._source} into {record.name} and solve the conflict there, or set merge_strategy",
                    key=self._source,
                ) from None
            return merged

    def _require_there(self, record: CloneRecord) -> None:
        if not self._is_ours(record):
            raise CloneError(
                f"the clone {record.name} is not there, or is not the one of {record.sandbox}",
                hint="anabranch run makes it again",
            )

    # the parts

    def _make(self, record: CloneRecord) -> str:
        """Makes the commit that carries the mark, on the source's head, and the tag that leads to it. Returns its id."""
        self._drop_branch(record.making)
        branch = self._repository.branch(record.making).create(self._source)
        metadata = {_MARK: str(record.mark), _NAME: record.name}
        message = f"Open the sandbox {record.sandbox} of {record.project}"
        commit: str = branch.commit(message, metadata=metadata, allow_empty=True).id
        self._repository.tag(f"{record.making}_{commit[:16]}").create(commit, exist_ok=True)
        return commit

    def _require_ours(self, record: CloneRecord) -> None:
        if not self._is_ours(record):
            raise not_ours(record, f"the branch {record.name}", sandbox=self._owner_of(record.name))

    def _is_ours(self, record: CloneRecord) -> bool:
        if not self._has_branch(record.name):
            return False
        return any(self._contains(record.name, tag.get_commit().id) for tag in self._tags(record))

    def _owner_of(self, name: str) -> str | None:
        """The sandbox that another record's branch belongs to, as far as its newest commits tell."""
        for commit in self._repository.branch(name).log(max_amount=20):
            mark = Mark.parse((commit.metadata or {}).get(_MARK))
            if mark is not None and (commit.metadata or {}).get(_NAME) == name:
                return mark.sandbox
        return None

    def _tags(self, record: CloneRecord) -> Sequence[Any]:
        return tuple(self._repository.tags(prefix=f"{record.making}_"))

    def _drop_tags(self, record: CloneRecord, but: str | None = None) -> bool:
        tags = [tag for tag in self._tags(record) if but is None or tag.get_commit().id != but]
        for tag in tags:
            _if_there(tag.delete)
        return bool(tags)

    def _has_branch(self, name: str) -> bool:
        return _if_there(lambda: self._repository.branch(name).head) is not None

    def _drop_branch(self, name: str) -> bool:
        def deleted() -> bool:
            self._repository.branch(name).delete()
            return True

        return bool(_if_there(deleted))

    def _contains(self, branch: str, commit: str) -> bool:
        from lakefs.exceptions import api_exception_handler

        def base() -> Any:
            with api_exception_handler():
                refs = self._client.sdk_client.refs_api
                return refs.find_merge_base(self._repository_id, branch, commit).base_commit_id

        return bool(_if_there(base) == commit)

    def _mark_of(self, commit: Any, project: str) -> Mark | None:
        mark = Mark.parse((commit.metadata or {}).get(_MARK))
        mine = mark is not None and (mark.project, mark.clone) == (project, self._around.clone)
        return mark if mine else None

    # the connection

    @property
    def _repository(self) -> lakefs.Repository:
        if self._found is None:
            driver = _driver()
            around, own = self._around, self._settings

            def text(field: str, value: str) -> str:
                return resolve_references(value, around.environ, place=around.place(field))

            self._client = driver.Client(
                host=text("host", own.host),
                username=text("access_key_id", own.access_key_id.get_secret_value()),
                password=text("secret_access_key", own.secret_access_key.get_secret_value()),
            )
            self._found = driver.Repository(self._repository_id, client=self._client)
        return self._found

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turns the SDK's errors into ours."""
        _driver()
        from lakefs.exceptions import LakeFSException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (LakeFSException, HTTPError) as error:
            status = getattr(error, "status_code", None)
            where = f"lakeFS at {self._settings.host}"
            raise CloneError(
                f"the clone {self._around.clone} could not be {what}: {_first(error)}",
                hint=_HINTS.get(status or 0, f"look whether {where} answers, and run the command again"),
                clone=self._around.clone,
                place=self._around.place("host" if status is None else "source"),
                status=status,
            ) from None


def _if_there(call: Callable[[], Any]) -> Any:
    """What a call returns, or None where lakeFS says that something is not there."""
    from lakefs.exceptions import NotFoundException

    try:
        return call()
    except NotFoundException:
        return None


def _driver() -> Any:
    try:
        import lakefs
    except ImportError:
        raise CloneError(
            "clones of lakeFS branches need its SDK", hint='pip install "anabranch[lakefs]"'
        ) from None
    return lakefs


def _check(name: str) -> None:
    if _BRANCH.fullmatch(name) is None:
        raise CloneError(
            f"{name!r} can't be a branch in lakeFS",
            hint="use letters, digits, _ and - in name = … of the clone",
        )


def _first(error: Exception) -> str:
    """What went wrong, in one line, and nothing of what was sent."""
    body = getattr(error, "body", None)
    if isinstance(body, dict) and body.get("message"):
        return str(body["message"]).splitlines()[0]
    reason = getattr(error, "reason", None)
    return str(reason if reason is not None else error).splitlines()[0]
