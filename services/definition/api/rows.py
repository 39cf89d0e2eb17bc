"""The table of audiences, by gRPC."""

from __future__ import annotations

from muster.definition.v1 import definition_service_pb2 as pb

from ..domain.listing import (
    FIGURES,
    AudienceQuery,
    AudienceRow,
    FiguresAway,
    Page,
    SortKey,
    page_size_of,
    position_of,
    query_of,
    ranked,
    token_of,
)
from ..figures import FiguresOf, Told
from ..store import Store
from ..translation import row_to_proto

_FILTERS = {pb.ListAudienceRowsRequest.FILTER_YES: True, pb.ListAudienceRowsRequest.FILTER_NO: False}


async def list_rows(store: Store, figures: FiguresOf, account_id: int, request: pb.ListAudienceRowsRequest) -> pb.ListAudienceRowsResponse:
    """A page of the table. Raises FiguresAway where it can't be sorted as asked."""
    query = query_of(
        states=request.states,
        tags=request.tags,
        search=request.search,
        order_by=request.order_by,
        archived=request.archived,
        keys=frozenset(SortKey),
        created_by=request.created_by,
        integrations=frozenset(request.integration_keys),
        connected=_FILTERS.get(request.connected),
        faulted=_FILTERS.get(request.faulted),
        tested=_FILTERS.get(request.tested),
    )
    limit = page_size_of(request.page_size)
    told: Told | None
    if query.sort in FIGURES:
        page, total, token, told = await _by_figures(store, figures, account_id, query, request.page_token, limit)
    else:
        after = position_of(request.page_token, query.digest, key_type=str if query.sort is SortKey.NAME else int)
        async with store.read(account_id) as scope:
            page, total = await scope.audience_rows(query, after=after, limit=limit)
        token = token_of(query.position_of(page.items[-1]), query.digest) if page.more else ""
        told = await figures.some(account_id, [row.audience_id for row in page.items])
    async with store.read(account_id) as scope:
        connections = await scope.connections_of([row.audience_id for row in page.items])
    return pb.ListAudienceRowsResponse(
        rows=[
            row_to_proto(
                row,
                told.figures.get(row.audience_id) if told is not None else None,
                [one for one in connections if one.audience_id == row.audience_id],
            )
            for row in page.items
        ],
        next_page_token=token,
        total_size=total,
        figures_known=told is not None,
        as_of_ms=told.as_of_ms if told is not None else 0,
    )


async def _by_figures(
    store: Store, figures: FiguresOf, account_id: int, query: AudienceQuery, token: str, limit: int
) -> tuple[Page[AudienceRow], int, str, Told]:
    after = position_of(token, query.digest)
    told = await figures.all(account_id)
    if told is None:
        raise FiguresAway("The evaluator does not answer, so nothing can be sorted by size, adds, drops or volatility; sort otherwise.")
    async with store.read(account_id) as scope:
        ids = await scope.audience_ids(query)
        places = ranked(ids, told.figures, query, after, limit)
        rows = await scope.rows_of([place.id for place in places[:limit]])
    more = len(places) > limit
    return Page(rows, more), len(ids), token_of(places[limit - 1], query.digest) if more else "", told
