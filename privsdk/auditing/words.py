"""A report in plain text, for a terminal."""

from __future__ import annotations

from privsdk.auditing.report import Report


def in_words(report: Report) -> str:
    """What a terminal shows of a report."""
    lines = [report.verdict]
    for label, told in report.private.items():
        low, high = told.accuracy_interval
        lines.append(
            f"{label}, hidden: the most accurate attacker names {100 * told.accuracy:.1f}% rightly ({100 * low:.1f} to "
            f"{100 * high:.1f}; always naming the commonest kind: {100 * told.base_rate:.1f}%); the kept labels alone "
            f"tell it with an AUROC of {told.ceiling:.3f}."
        )
        for one in told.attacks:
            lines.append(f"  {one.leakage:.3f}  {one.attacker} on {one.form}, {one.protocol}")
        for group in told.subgroups[:1]:
            low, high = group.interval
            lines.append(
                f"  Most is told among {group.samples} ({group.name}): {group.leakage:.3f} ({low:.3f} to {high:.3f}, "
                "corrected for having looked at all)."
            )
    for label, kept in report.utility.items():
        line = f"{label}, kept: {100 * kept.accuracy:.1f}% named rightly"
        if kept.lost is not None and kept.interval is not None:
            low, high = kept.interval
            line += f", {100 * kept.lost:.1f} points ({100 * low:.1f} to {100 * high:.1f}) less than unfiltered"
        lines.append(f"{line}.")
    for several in report.several:
        lines.append(f"{several.label} from {several.count} ({several.kind}; {several.form}): {several.leakage:.3f}")
    for wrong in report.wrong_labels:
        lines.append(
            f"{wrong.label} of samples that are released with a wrong label: {100 * wrong.accuracy:.1f}% named rightly."
        )
    for linked in report.linked:
        lines.append(
            f"By {linked.by} {linked.to} comes first among {linked.crowd} for {100 * linked.first:.1f}% of releases "
            f"(chance: {100 * linked.chance:.1f}%)."
        )
    return "\n".join([*lines, *report.limits])
