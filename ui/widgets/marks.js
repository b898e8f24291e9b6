// One colour and one shape per method, the same as in the charts. Needs dom.js in front.
const SHAPES = {
  circle: 'M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z',
  square: 'M3 3h10v10H3z',
  diamond: 'M8 1.5L14.5 8L8 14.5L1.5 8z',
  'triangle-up': 'M8 2L14.5 13.5h-13z',
  'triangle-down': 'M8 14L1.5 2.5h13z',
  'triangle-left': 'M2 8L13.5 1.5v13z',
  'triangle-right': 'M14 8L2.5 14.5v-13z',
  bowtie: 'M1.5 3L8 7L14.5 3v10L8 9L1.5 13z',
  hourglass: 'M3 1.5L7 8L3 14.5h10L9 8L13 1.5z',
  octagon: 'M5.3 1.5h5.4L14.5 5.3v5.4L10.7 14.5H5.3L1.5 10.7V5.3z',
  cross: 'M6 2h4v4h4v4h-4v4H6v-4H2V6h4z',
  x: 'M4.2 2L8 5.8L11.8 2L14 4.2L10.2 8L14 11.8L11.8 14L8 10.2L4.2 14L2 11.8L5.8 8L2 4.2z',
  pentagon: 'M8 1.5L14.5 6.3L12 14H4L1.5 6.3z',
  hexagon: 'M4.7 2.2h6.6L14.6 8l-3.3 5.8H4.7L1.4 8z',
  star: 'M8 1l2 4.6l5 .5l-3.8 3.3l1.2 5L8 11.8l-4.4 2.6l1.2-5L1 6.1l5-.5z',
};

// `colour` is a CSS colour, also var(--…); a shape named "…-open" is an outline.
function mark(colour, shape, size) {
  const open = shape.endsWith('-open');
  const glyph = svg('svg', { viewBox: '0 0 16 16', width: size || 12, height: size || 12, 'aria-hidden': 'true', style: 'flex: none; overflow: visible' });
  const look = open ? `fill: none; stroke: ${colour}; stroke-width: 2.4` : `fill: ${colour}`;
  glyph.append(svg('path', { d: SHAPES[shape.replace('-open', '')] || SHAPES.circle, style: look }));
  return glyph;
}
