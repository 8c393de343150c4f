/** Smoothing in units of x, so that it does not depend on how a series was sampled. */

/**
 * The exponentially weighted mean of all values so far: one that lies a half-life back counts half.
 *
 * Values weigh as many times as the points that they stand for. The weights are kept beside the mean, so that the
 * first values are not drawn towards anything.
 *
 * Source: Zumbach and Müller, "Operators on inhomogeneous time series" (2001), for weights that decay with the
 * distance in x; Kingma and Ba, "Adam" (2015), section 3, for the division by the weights' sum.
 * @param {ArrayLike<number>} xs Increasing.
 * @param {ArrayLike<number>} ys What is not finite is passed over.
 * @param {ArrayLike<number>} counts Points behind each value.
 * @param {number} halfLife In units of x, above 0.
 * @returns {Float64Array}
 */
export function smooth(xs, ys, counts, halfLife) {
  const result = new Float64Array(ys.length);
  let weight = 0;
  let mean = 0;
  let last = 0;
  for (let i = 0; i < ys.length; i++) {
    const y = ys[i];
    if (!Number.isFinite(y)) {
      result[i] = NaN;
      continue;
    }
    const own = counts[i] || 1;
    weight = weight * 2 ** ((last - xs[i]) / halfLife) + own;
    // Not a quotient of sums: those overflow before the values do.
    mean = weight === own ? y : mean + (y - mean) * (own / weight);
    last = xs[i];
    result[i] = mean;
  }
  return result;
}
