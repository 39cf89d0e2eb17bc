"""What several evaluators answered about their partitions, as one answer. People belong to one partition, so parts add up."""

from __future__ import annotations

from collections.abc import Sequence

from muster.evaluator.v1 import evaluator_service_pb2 as pb

from services.evaluator.statistics import volatility


def moment(parts: Sequence[pb.Moment]) -> pb.Moment:
    """The earliest instant of all, and all that waits."""
    return pb.Moment(
        as_of_ms=min(part.as_of_ms for part in parts),
        pending_messages=sum(part.pending_messages for part in parts),
        lag_ms=max(part.lag_ms for part in parts),
    )


def estimate(parts: Sequence[pb.EstimateResponse]) -> pb.EstimateResponse:
    """The size of a draft, of its nodes, and of what it shares."""
    return pb.EstimateResponse(
        size=sum(part.size for part in parts),
        candidates=sum(part.candidates for part in parts),
        nodes=[
            pb.NodeSize(node_id=nodes[0].node_id, size=sum(node.size for node in nodes))
            for nodes in zip(*(part.nodes for part in parts), strict=True)
        ],
        overlap=sum(part.overlap for part in parts),
        overlap_size=sum(part.overlap_size for part in parts),
        moment=moment([part.moment for part in parts]),
    )


def statistics(parts: Sequence[pb.AudienceStatistics]) -> pb.AudienceStatistics:
    """The figures of one audience."""
    size, adds, drops = (sum(getattr(part, name) for part in parts) for name in ("size", "adds", "drops"))
    return pb.AudienceStatistics(
        audience_id=parts[0].audience_id,
        state=parts[0].state,
        size=size,
        adds=adds,
        drops=drops,
        volatility=volatility(size, adds, drops) if parts[0].state == pb.POPULATION_STATE_LIVE else None,
        revision=parts[0].revision,
        moment=moment([part.moment for part in parts]),
        variations=[
            pb.VariationSize(variation_id=of_one[0].variation_id, name=of_one[0].name, size=sum(part.size for part in of_one))
            for of_one in zip(*(part.variations for part in parts), strict=True)
        ],
        cost=cost([part.cost for part in parts]) if parts[0].HasField("cost") else None,
    )


def cost(parts: Sequence[pb.Cost]) -> pb.Cost:
    """What all evaluators spent on one audience."""
    looked_at, seconds, of_all = (sum(getattr(part, name) for part in parts) for name in ("looked_at", "seconds", "seconds_of_all"))
    return pb.Cost(looked_at=looked_at, seconds=seconds, seconds_of_all=of_all)


def list_of_statistics(parts: Sequence[pb.ListAudienceStatisticsResponse]) -> pb.ListAudienceStatisticsResponse:
    """The figures of many audiences, which all parts list alike."""
    lists = zip(*(part.statistics for part in parts), strict=True)
    return pb.ListAudienceStatisticsResponse(
        statistics=[statistics(of_one) for of_one in lists], moment=moment([part.moment for part in parts])
    )


def figures(parts: Sequence[pb.ListAudienceFiguresResponse]) -> pb.ListAudienceFiguresResponse:
    """The figures of many audiences. One that not all evaluators know yet is left out."""
    told = [{id_: row for id_, *row in zip(part.audience_ids, part.sizes, part.adds, part.drops, strict=True)} for part in parts]
    ids = [id_ for id_ in parts[0].audience_ids if all(id_ in one for one in told)]
    sizes, adds, drops = ([sum(one[id_][place] for one in told) for id_ in ids] for place in range(3))
    return pb.ListAudienceFiguresResponse(
        audience_ids=ids, sizes=sizes, adds=adds, drops=drops, moment=moment([part.moment for part in parts])
    )


def header(parts: Sequence[pb.MembersHeader]) -> pb.MembersHeader:
    """What comes before a list of members: the rounds of all partitions."""
    return pb.MembersHeader(
        size=sum(part.size for part in parts),
        revision=parts[0].revision,
        moment=moment([part.moment for part in parts]),
        rounds=sorted((one for part in parts for one in part.rounds), key=lambda one: one.partition),
    )


def are_of_one_definition(parts: Sequence[pb.ListAudienceStatisticsResponse]) -> bool:
    """Whether all parts count by the same definitions: a new one reaches the evaluators one after the other."""
    said = [
        [(one.audience_id, one.state, one.revision, [variation.variation_id for variation in one.variations]) for one in part.statistics]
        for part in parts
    ]
    return all(one == said[0] for one in said)
