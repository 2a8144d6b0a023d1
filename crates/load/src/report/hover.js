// Shows the figures under the pointer; the page is complete without it.
const tip = document.getElementById('tip');
for (const chart of document.querySelectorAll('svg.chart')) {
  const d = chart.dataset, points = JSON.parse(d.points), cross = chart.querySelector('.cross');
  const left = +d.left, right = +d.right, from = +d.from, to = +d.to;
  const ms = v => v < 10 ? v.toFixed(2) + ' ms' : v < 1000 ? v.toFixed(0) + ' ms' : (v / 1000).toFixed(2) + ' s';
  chart.addEventListener('pointermove', e => {
    const box = chart.getBoundingClientRect(), x = (e.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const t = from + (x - left) / (right - left) * (to - from);
    let best = null;
    for (const p of points) if (!best || Math.abs(p[0] - t) < Math.abs(best[0] - t)) best = p;
    if (!best || x < left || x > right) return leave();
    const at = left + (best[0] - from) / (to - from) * (right - left);
    cross.setAttribute('x1', at); cross.setAttribute('x2', at); cross.style.visibility = 'visible';
    const [time, rate, failed, p50, p99, max] = best;
    tip.textContent = (time / 1000).toFixed(2) + ' s\n' + rate.toLocaleString('en') + ' statements/s' +
      (failed ? '\n' + failed + ' failed' : '') +
      (max ? '\nmedian ' + ms(p50) + '\n99th percentile ' + ms(p99) + '\nlongest ' + ms(max) : '\nnothing ended');
    tip.style.visibility = 'visible';
    const beside = e.clientX + 190 > innerWidth ? e.clientX - tip.offsetWidth - 14 : e.clientX + 14;
    tip.style.left = beside + 'px'; tip.style.top = e.clientY + 14 + 'px';
  });
  const leave = () => { tip.style.visibility = 'hidden'; cross.style.visibility = 'hidden'; };
  chart.addEventListener('pointerleave', leave);
}
