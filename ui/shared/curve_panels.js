// One panel of curves, drawn by uPlot (served by the app, see vendor.py). dom.js and curve_math.js come first.
// series: [{name, label, colour: '--rs-…', dash, band: [low, high]}]; options: {height, span, range, zero, log, smooth, weight}.
const cssColour = (node, name) => getComputedStyle(node).getPropertyValue(name).trim() || '#888';

function curvePanel(host, options, onHover) {
  let plot = null, built = '', shown = null;
  const colour = (name) => () => cssColour(host, name);

  // What uPlot draws of one curve: the other run's faintly below, each value faintly where it is smoothed, the curve itself on top.
  function layers(series, look) {
    return series.flatMap((one) => [
      ...(look.other ? [{ key: `other:${one.name}`, stroke: colour('--rs-faint'), width: 1, dash: [2, 3] }] : []),
      ...(one.band ? one.band.map((name) => ({ key: name, stroke: colour(one.colour), width: 0.75, alpha: 0.45, quiet: true })) : []),
      ...(look.smooth ? [{ key: one.name, stroke: colour(one.colour), width: 1, alpha: 0.28 }] : []),
      { key: look.smooth ? `smooth:${one.name}` : one.name, stroke: colour(one.colour), width: look.smooth || one.band ? 2 : 1.4, dash: one.dash, curve: one },
    ]);
  }

  function axis(more) {
    const line = { stroke: colour('--rs-line'), width: 1 };
    return { stroke: colour('--rs-muted'), grid: line, ticks: { ...line, size: 3 }, font: '11px system-ui, sans-serif', gap: 3, ...more };
  }

  function build(series, look) {
    plot?.destroy();
    const drawn = layers(series, look), bands = [];
    drawn.forEach((layer, at) => {
      const low = layer.curve?.band ? drawn.findIndex((one) => one.key === layer.curve.band[0]) : -1;
      if (low >= 0) bands.push({ series: [low + 2, low + 1], fill: () => `${cssColour(host, layer.curve.colour)}22` });
    });
    plot = new window.uPlot({
      width: Math.max(host.clientWidth, 60), height: options.height, legend: { show: false }, padding: [6, 8, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: 'rs-live-run', scales: ['x', null] }, points: { size: 6 } },
      scales: { x: { time: false, range: () => options.span() }, y: { distr: look.log ? 3 : 1, ...(options.range ? { range: options.range } : {}) } },
      axes: [
        axis({ size: 24, space: 54, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6], values: (self, ticks) => ticks.map((value) => value.toLocaleString('en-GB')) }),
        axis({ size: options.height > 120 ? 44 : 38, space: options.height > 120 ? 26 : 20, values: (self, ticks) => ticks.map((value) => (value === null ? '' : brief(value))) }),
      ],
      series: [{}, ...drawn.map(({ stroke, width, dash, alpha, quiet }) => ({ stroke, width, dash, alpha, spanGaps: true, points: quiet ? { show: false } : { size: 5, space: 14 } }))],
      bands,
      hooks: { drawClear: options.zero ? [zone] : [], setCursor: [hovered] },
    }, [[], ...drawn.map(() => [])], host);
    return drawn.map((layer) => layer.key);
  }

  // Below zero the two losses pull against each other.
  function zone(self) {
    const { ctx, bbox } = self, zero = Math.round(self.valToPos(0, 'y', true));
    ctx.save();
    ctx.globalAlpha = 0.08;
    ctx.fillStyle = cssColour(host, '--rs-flag');
    ctx.fillRect(bbox.left, zero, bbox.width, bbox.top + bbox.height - zero);
    ctx.globalAlpha = 1;
    ctx.fillStyle = cssColour(host, '--rs-muted');
    ctx.fillRect(bbox.left, zero, bbox.width, 1);
    ctx.restore();
  }

  // Only the steps at which something was logged: of what is measured now and then, each value is a point that is seen.
  function logged(table) {
    const kept = table[0].map((_, at) => at).filter((at) => table.slice(1).some((values) => values[at] !== null && values[at] !== undefined));
    return kept.length === table[0].length ? table : table.map((values) => kept.map((at) => values[at]));
  }

  // The pointer is over one panel and shown in all; only that one says at which step.
  function hovered(self) {
    const at = self.cursor.idx;
    if (at === null || at === undefined) onHover(null);
    else if (host.matches(':hover') || host.parentElement === document.activeElement) onHover(self.data[0][at]);
  }

  const positive = (values, look) => (look.log ? values.map((value) => (value > 0 ? value : null)) : values);

  return {
    // data: columns by name with `step`; other: the same of a run to compare with, or null. Only numbers change from one call to the next,
    // unless another curve or another way of drawing was asked for.
    draw(series, data, other, look) {
      const smooth = look.smooth && Boolean(options.smooth), log = look.log && Boolean(options.log);
      const mine = { smooth, log, other: Boolean(other) };
      const key = JSON.stringify([series.map((one) => one.name), smooth, log, Boolean(other)]);
      if (key !== built || !plot) { shown = build(series, mine); built = key; }
      const column = (name) => {
        const [kind, bare] = name.includes(':') ? name.split(':') : ['', name];
        const raw = positive((kind === 'other' ? other : data)[bare], mine);
        return kind === 'smooth' ? smoothed(raw, options.weight) : raw;
      };
      const own = shown.filter((name) => !name.startsWith('other:')), theirs = shown.filter((name) => name.startsWith('other:'));
      let table = logged([data.step, ...own.map(column)]), order = own;
      if (theirs.length) {
        const gaps = own.map(() => 1), more = theirs.map(() => 1); // 1: a gap of the joined table is one to draw across
        table = window.uPlot.join([table, [other.step, ...theirs.map(column)]], [[0, ...gaps], [0, ...more]]);
        order = [...own, ...theirs];
      }
      plot.setData([table[0], ...shown.map((name) => table[1 + order.indexOf(name)])]);
    },
    repaint() { plot?.redraw(true, true); },
    resize() { if (plot && host.clientWidth && host.clientWidth !== plot.width) plot.setSize({ width: host.clientWidth, height: options.height }); },
    point(step) { if (plot && plot.data[0].length) plot.setCursor({ left: plot.valToPos(step, 'x'), top: 10 }); },
  };
}
