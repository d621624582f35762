// Reads the result that the page carries; without it everything but the reading of values works.
(() => {
  'use strict';
  const $ = (of, what) => [...of.querySelectorAll(what)];
  const NS = 'http://www.w3.org/2000/svg', LEFT = 62, ACROSS = 884, S = 1e9;
  const result = JSON.parse(document.getElementById('result').textContent);
  const figures = $(document, 'svg.time');
  const tip = document.getElementById('tip');
  const series = result.series, heat = result.heatmap, response = series['acquire.response'];
  const span = Math.max(result.run.duration_ns, series.t.length * series.interval_ns) || 1;
  let view = [0, span];

  const ns = v => {
    if (v == null) return '–';
    const [by, unit] = v < 1e3 ? [1, 'ns'] : v < 999500 ? [1e3, 'µs'] : v < 9995e5 ? [1e6, 'ms'] : [S, 's'];
    const x = v / by;
    return (by === 1 ? v : x.toFixed(x < 9.995 ? 2 : x < 99.95 ? 1 : 0)) + unit;
  };
  const rate = v => Math.round(v).toLocaleString('en').replace(/,/g, ' ') + '/s';
  const clock = t => (t / S).toFixed(span < 100 * S ? 2 : 0) + 's';

  // The value below which a share of a column of the map lies, as the figure has it.
  const quantile = (at, share) => {
    const cells = (heat && heat.columns[at] || '').split(' ').filter(Boolean).map(c => c.split(':').map(Number));
    let left = Math.max(1, Math.ceil(share * cells.reduce((sum, c) => sum + c[1], 0)));
    for (const [row, n] of cells) if ((left -= n) <= 0) return 2 ** ((row + .5) / heat.rows_per_doubling);
    return null;
  };

  const at = t => {
    const i = Math.min(series.t.length - 1, Math.floor(t / series.interval_ns));
    if (i < 0) return '';
    const per = (of) => of && of.length ? rate(of[i] * S / series.interval_ns) : '–';
    const column = heat && heat.dt_ns ? Math.floor(t / heat.dt_ns) : -1;
    const line = (name, value) => `<div><b>${name}</b>${value}</div>`;
    let text = line('time', clock(t));
    text += line('p50', ns(response.p50[i] ?? quantile(column, .5)));
    text += line('p99', ns(response.p99[i] ?? quantile(column, .99)));
    text += line('longest', ns(response.max[i]));
    text += line('arrivals', per(series.started)) + line('granted', per(series.ok));
    text += line('contended', per(series.contended)) + line('errors', per(series.errors));
    text += line('in flight', series.in_flight[i]);
    const faults = result.faults.filter(f => f.begin_ns <= t && t <= (f.end_ns ?? span));
    const names = faults.map(f => `${f.kind} ${f.targets.map(n => 'n' + n).join(',')}`);
    return text + (names.length ? '<div><b>fault</b><i></i></div>' : '') + '\u0000' + names.join('; ');
  };

  const toTime = (svg, event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * 960 / box.width - LEFT;
    const share = Math.min(1, Math.max(0, x / ACROSS));
    return x < -8 || x > ACROSS + 8 ? null : view[0] + share * (view[1] - view[0]);
  };
  const toX = t => LEFT + (t - view[0]) / (view[1] - view[0]) * ACROSS;
  const make = (svg, name, kind) => {
    const node = document.createElementNS(NS, name);
    node.setAttribute('class', kind);
    return svg.appendChild(node);
  };
  const tall = svg => svg.viewBox.baseVal.height;

  const hide = () => {
    tip.style.display = 'none';
    $(document, '.cross').forEach(node => node.remove());
  };
  const show = (t, event) => {
    hide();
    for (const svg of figures) {
      const node = make(svg, 'line', 'cross');
      const x = toX(t);
      Object.entries({ x1: x, x2: x, y1: 24, y2: tall(svg) - 24 }).forEach(e => node.setAttribute(...e));
    }
    const [html, names] = at(t).split('\u0000');
    tip.innerHTML = html;
    const fault = tip.querySelector('i');
    if (fault) fault.textContent = names;
    tip.style.display = 'block';
    const left = event.pageX + 18 + tip.offsetWidth > innerWidth + scrollX ? -18 - tip.offsetWidth : 18;
    tip.style.left = event.pageX + left + 'px';
    tip.style.top = event.pageY + 12 + 'px';
  };

  const step = length => {
    const steps = [.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    return (steps.find(s => length / s <= 12) || length / 10);
  };
  const zoom = (from, to) => {
    view = [from, to];
    hide();
    const [x, w] = [from / span * ACROSS, (to - from) / span * ACROSS];
    for (const svg of figures) {
      $(svg, 'svg.plot').forEach(plot => plot.setAttribute('viewBox', `${x} 0 ${w} ${plot.getAttribute('height')}`));
      $(svg, '[data-x]').forEach(node => {
        const to = (node.dataset.x - x) / w * ACROSS;
        node.style.display = to < -1 || to > ACROSS + 1 ? 'none' : '';
        node.setAttribute('transform', `translate(${LEFT + to} 0)`);
      });
      $(svg, '.xticks').forEach(ticks => {
        const y = +ticks.dataset.y, by = step((to - from) / S);
        ticks.textContent = '';
        for (let i = Math.ceil(from / S / by - 1e-9); i * by <= to / S + 1e-9; i++) {
          const at = toX(i * by * S), mark = make(ticks, 'line', 'axis'), label = make(ticks, 'text', 't');
          Object.entries({ x1: at, x2: at, y1: y, y2: y + 4 }).forEach(e => mark.setAttribute(...e));
          Object.entries({ x: Math.min(at, 940), y: y + 17, 'text-anchor': 'middle' }).forEach(e => label.setAttribute(...e));
          label.textContent = +(i * by).toFixed(3) + 's';
        }
      });
    }
  };

  for (const svg of figures) {
    let begun = null, brush = null;
    svg.addEventListener('pointermove', event => {
      const t = toTime(svg, event);
      if (t == null) return hide();
      show(t, event);
      if (brush) {
        const [a, b] = [toX(begun), toX(t)].sort((p, q) => p - q);
        Object.entries({ x: a, width: b - a, y: 24, height: tall(svg) - 48 }).forEach(e => brush.setAttribute(...e));
      }
    });
    svg.addEventListener('pointerdown', event => {
      if (event.pointerType !== 'mouse' || event.button) return;
      begun = toTime(svg, event);
      if (begun != null) { brush = make(svg, 'rect', 'brush'); svg.setPointerCapture(event.pointerId); event.preventDefault(); }
    });
    svg.addEventListener('pointerup', event => {
      if (!brush) return;
      brush.remove(); brush = null;
      const end = toTime(svg, event) ?? begun;
      const [a, b] = [begun, end].sort((p, q) => p - q);
      if ((b - a) / (view[1] - view[0]) > .01 && b - a > 2e6) zoom(a, b);
    });
    svg.addEventListener('pointerleave', () => brush || hide());
    svg.addEventListener('dblclick', () => zoom(0, span));
  }
  addEventListener('keydown', event => event.key === 'Escape' && zoom(0, span));

  // A click on a legend hides what it names, and shows it again.
  $(document, 'svg.fig .key').forEach(key => key.addEventListener('click', () => {
    const off = key.classList.toggle('off'), svg = key.closest('svg.fig');
    $(svg, '.' + key.dataset.key).filter(node => !key.contains(node)).forEach(node => {
      node.style.display = off ? 'none' : '';
      const before = node.previousElementSibling;
      if (before && before.classList.contains('halo')) before.style.display = off ? 'none' : '';
    });
  }));
  addEventListener('beforeprint', () => $(document, 'details').forEach(node => { node.open = true; }));
  $(document, '.hint').forEach(node => { node.hidden = false; });
})();
