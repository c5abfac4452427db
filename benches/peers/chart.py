"""The chart of `run`: CPU time a message as bars on a logarithmic scale, those that promise nothing above those that promise a disk."""

import math

WIDTH, LEFT, RIGHT, BAR, GAP = 860, 170, 110, 22, 8
COLOURS = {True: "#2b6cb0", False: "#718096"}


def draw(results, load):
    """The SVG for one load. `results`: name to load to (disk, messages/s, microseconds a message)."""
    rows = [(name, *by_load[load]) for name, by_load in results.items() if load in by_load]
    groups = [("250 promises nothing", False), ("250 promises a message on disk", True)]
    low = 10 ** math.floor(math.log10(min(row[3] for row in rows)))
    high = 10 ** math.ceil(math.log10(max(row[3] for row in rows)))
    across = lambda value: LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / low) / math.log(high / low)
    parts, y = [], 34
    for title, disk in groups:
        members = sorted((row for row in rows if row[1] == disk), key=lambda row: row[3])
        if not members:
            continue
        y += 22
        parts.append(f'<text x="{LEFT}" y="{y - 7}" font-weight="bold">{title}</text>')
        for name, _, rate, cpu in members:
            colour = COLOURS[name.startswith("ringmx")]
            parts.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{name}</text>')
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{across(cpu) - LEFT:.1f}" height="{BAR}" fill="{colour}"/>')
            label = f"{cpu:,.0f} µs · {rate:,.0f}/s"
            parts.append(f'<text x="{across(cpu) + 6:.1f}" y="{y + 15}">{label}</text>')
            y += BAR + GAP
        y += 10
    ticks, value = [], low
    while value <= high:
        x = across(value)
        ticks.append(f'<line x1="{x:.1f}" y1="34" x2="{x:.1f}" y2="{y}" stroke="#e2e8f0"/>')
        ticks.append(f'<text x="{x:.1f}" y="{y + 16}" text-anchor="middle" fill="#4a5568">{value:,} µs</text>')
        value *= 10
    head = f'<text x="{LEFT}" y="22" font-size="15">CPU time of the receiver a message of 4 KiB (shorter is better), and messages/s of one core</text>'
    height = y + 28
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join([head, *ticks, *parts])
        + "\n</svg>\n"
    )
