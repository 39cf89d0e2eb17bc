"""What the engine found of one person, as the contract tells it."""

from __future__ import annotations

from muster.definition.v1 import audience_pb2
from muster.evaluator.v1 import evaluator_service_pb2 as pb

from services.evaluator.engine.explain import Explanation
from services.evaluator.words import bound_of, instant_words, nodes_of, subject_of, value_words


def explained(audience: audience_pb2.Audience, explanation: Explanation, moment: pb.Moment) -> pb.ExplainMembershipResponse:
    """Each node with its verdict, and the whole in a sentence or two. `since_ms` is not known to this version: 0."""
    verdicts, missing = [], []
    for node in nodes_of(audience.definition.root):
        verdict = explanation.nodes.get(node.id)
        if verdict is None:
            continue
        value, bound = value_words(verdict.value), verdict.bound
        if node.HasField("criterion"):
            bound = bound_of(node.criterion, verdict.bound)
            if not verdict.holds:
                missing.append(f"{subject_of(node.criterion)}: {value or 'none'}, not {bound or 'so'}")
        verdicts.append(pb.NodeVerdict(node_id=node.id, holds=verdict.holds, value=value, bound=bound))
    summary = "In the audience." if explanation.member else "Not in the audience."
    if not explanation.member and missing:
        summary += f" What does not hold: {'; '.join(missing)}."
    elif not explanation.member and explanation.nodes.get(audience.definition.root.id, None) is not None:
        root = explanation.nodes[audience.definition.root.id]
        summary += " Nothing was ever heard of this person in the audience's workspaces." if root.holds else ""
    if explanation.next_change_ms is not None:
        verb = "Leaves" if explanation.member else "Enters"
        summary += f" {verb} on {instant_words(explanation.next_change_ms)} if nothing else happens."
    return pb.ExplainMembershipResponse(
        member=explanation.member, next_change_ms=explanation.next_change_ms or 0, nodes=verdicts, summary=summary, moment=moment
    )
