"""Loops behind `luxdask.registration.refine`: points with gradients, and sums over them."""

from __future__ import annotations

import numpy as np

from luxdask.array.jit import inlined, kernel

SUMS = 90 + 5 * 12 + 6
"""Length of the result of `sums`: see there."""


@inlined
def _gradient_square(volume, z, y, x, scale):  # type: ignore[no-untyped-def]
    gz = (volume[z + 1, y, x] - volume[z - 1, y, x]) * scale[0]
    gy = (volume[z, y + 1, x] - volume[z, y - 1, x]) * scale[1]
    gx = (volume[z, y, x + 1] - volume[z, y, x - 1]) * scale[2]
    return gz * gz + gy * gy + gx * gx


@kernel
def gradient_squares(volume, scale, low, high, step, out):  # type: ignore[no-untyped-def]
    """Squared gradients of every `step`-th voxel of a row in the box; returns how many."""
    n = 0
    for z in range(low[0], high[0]):
        for y in range(low[1], high[1]):
            for x in range(low[2] + (z * 7 + y * 3) % step, high[2], step):
                out[n] = _gradient_square(volume, z, y, x, scale)
                n += 1
    return n


@kernel
def strong_points(  # type: ignore[no-untyped-def]
    volume, scale, low, high, threshold, every, to_place, turn, places, gradients
):
    """Places, values and gradients of voxels in the box with a strong gradient.

    Gradients are per voxel times `scale`; of those above `threshold` each `every`-th is taken.
    to_place : (3, 4), voxel -> place. turn : (3, 3), from gradients per voxel to those wanted.
    places : (N, 4), gradients : (N, 3), to be filled. Returns how many are.
    """
    n, seen = 0, 0
    for z in range(low[0], high[0]):
        for y in range(low[1], high[1]):
            for x in range(low[2], high[2]):
                if _gradient_square(volume, z, y, x, scale) < threshold:
                    continue
                seen += 1
                if seen % every or n == len(places):
                    continue
                gz = (volume[z + 1, y, x] - volume[z - 1, y, x]) * np.float32(0.5)
                gy = (volume[z, y + 1, x] - volume[z, y - 1, x]) * np.float32(0.5)
                gx = (volume[z, y, x + 1] - volume[z, y, x - 1]) * np.float32(0.5)
                for i in range(3):
                    to = to_place[i]
                    places[n, i] = to[0] * z + to[1] * y + to[2] * x + to[3]
                    gradients[n, i] = turn[i, 0] * gz + turn[i, 1] * gy + turn[i, 2] * gx
                places[n, 3] = volume[z, y, x]
                n += 1
    return n


@inlined
def _trilinear(volume, z, y, x):  # type: ignore[no-untyped-def]
    iz, iy, ix = int(z), int(y), int(x)
    tz, ty, tx = z - np.float32(iz), y - np.float32(iy), x - np.float32(ix)
    a, b = volume[iz, iy, ix], volume[iz, iy + 1, ix]
    c, d = volume[iz + 1, iy, ix], volume[iz + 1, iy + 1, ix]
    a += tx * (volume[iz, iy, ix + 1] - a)
    b += tx * (volume[iz, iy + 1, ix + 1] - b)
    c += tx * (volume[iz + 1, iy, ix + 1] - c)
    d += tx * (volume[iz + 1, iy + 1, ix + 1] - d)
    a += ty * (b - a)
    c += ty * (d - c)
    return a + tz * (c - a)


@inlined
def _trilinear_slope(volume, z, y, x):  # type: ignore[no-untyped-def]
    """Value and derivatives along z, y, x."""
    iz, iy, ix = int(z), int(y), int(x)
    tz, ty, tx = z - np.float32(iz), y - np.float32(iy), x - np.float32(ix)
    a, b = volume[iz, iy, ix], volume[iz, iy + 1, ix]
    c, d = volume[iz + 1, iy, ix], volume[iz + 1, iy + 1, ix]
    da, db = volume[iz, iy, ix + 1] - a, volume[iz, iy + 1, ix + 1] - b
    dc, dd = volume[iz + 1, iy, ix + 1] - c, volume[iz + 1, iy + 1, ix + 1] - d
    a, b, c, d = a + tx * da, b + tx * db, c + tx * dc, d + tx * dd
    da += ty * (db - da)
    dc += ty * (dd - dc)
    low, high = a + ty * (b - a), c + ty * (d - c)
    dy = b - a + tz * (d - c - b + a)
    return low + tz * (high - low), high - low, dy, da + tz * (dc - da)


@kernel
def sample_grid(volume, matrix, margin, values, known):  # type: ignore[no-untyped-def]
    """Trilinear values of `volume` at ``matrix @ (z, y, x, 1)`` for every voxel of `values`.

    `known` becomes 1 where that is at least `margin` voxels from the border, else both are 0.
    """
    sz, sy, sx = volume.shape
    m = matrix.astype(np.float32)
    one = np.float32(1)
    low_z, low_y, low_x = np.float32(margin[0]), np.float32(margin[1]), np.float32(margin[2])
    high_z, high_y, high_x = sz - one - low_z, sy - one - low_y, sx - one - low_x
    for k in range(values.shape[0]):
        for j in range(values.shape[1]):
            for i in range(values.shape[2]):
                z = m[0, 0] * k + m[0, 1] * j + m[0, 2] * i + m[0, 3]
                y = m[1, 0] * k + m[1, 1] * j + m[1, 2] * i + m[1, 3]
                x = m[2, 0] * k + m[2, 1] * j + m[2, 2] * i + m[2, 3]
                within = low_z <= z < high_z and low_y <= y < high_y and low_x <= x < high_x
                known[k, j, i] = one if within else np.float32(0)
                values[k, j, i] = _trilinear(volume, z, y, x) if within else np.float32(0)


@kernel
def sums(volume, points, gradients, matrix, radius, margin, fit, out):  # type: ignore[no-untyped-def]
    """Sums over points for the regression of the moving on the fixed patch.

    With F the value and G the gradient of the fixed patch at a point, x = (1, z, y, x) the place,
    M and D the moving value and gradient there, r = M - gain * F - offset, each point weighs
    w = 1 / (1 + (r / limit)²)² (1 where `limit` is 0). `out` becomes the sums of

    - [0, 90): w G_i D_j x_k x_l, all (i, j) and the upper triangle of (k, l)
    - [90, 102): w F G_i x_k; [102, 114): w G_i x_k; [114, 126): w M G_i x_k
    - [126, 138): w F D_i x_k; [138, 150): w D_i x_k
    - [150, 156): w, w F, w M, w F F, w F M, w M M

    points : (N, 4) place and value. gradients : (N, 3), per µm. matrix : (3, 4) place -> moving
    voxel. radius : µm per unit of place.
    margin : (3,) voxels at the border of the moving volume that do not count.
    fit : (3,) gain, offset, limit. Returns the number of points that lie within.
    """
    sz, sy, sx = volume.shape
    gain, offset, limit = np.float32(fit[0]), np.float32(fit[1]), np.float32(fit[2])
    m = matrix.astype(np.float32)
    one = np.float32(1)
    strictness = one / (limit * limit) if limit > 0 else np.float32(0)
    low_z, low_y, low_x = np.float32(margin[0]), np.float32(margin[1]), np.float32(margin[2])
    high_z, high_y, high_x = sz - one - low_z, sy - one - low_y, sx - one - low_x
    to_um = m / np.float32(radius)
    part = np.zeros(SUMS, dtype=np.float32)
    slope = np.empty(3, dtype=np.float32)
    place = np.ones(4, dtype=np.float32)
    products = np.empty(10, dtype=np.float32)
    out[:] = 0
    inside, gathered = 0, 0
    for n in range(len(points)):
        pz, py, px, f = points[n]
        z = m[0, 0] * pz + m[0, 1] * py + m[0, 2] * px + m[0, 3]
        y = m[1, 0] * pz + m[1, 1] * py + m[1, 2] * px + m[1, 3]
        x = m[2, 0] * pz + m[2, 1] * py + m[2, 2] * px + m[2, 3]
        if not (low_z <= z < high_z and low_y <= y < high_y and low_x <= x < high_x):
            continue
        value, dz, dy, dx = _trilinear_slope(volume, z, y, x)
        for j in range(3):
            slope[j] = dz * to_um[0, j] + dy * to_um[1, j] + dx * to_um[2, j]
        r = value - gain * f - offset
        w = one / (one + r * r * strictness)
        w *= w
        place[1], place[2], place[3] = pz, py, px
        k = 0
        for i in range(4):
            for j in range(i, 4):
                products[k] = place[i] * place[j]
                k += 1
        k = 0
        for i in range(3):
            wg = w * gradients[n, i]
            for j in range(3):
                gg = wg * slope[j]
                for q in range(10):
                    part[k + q] += gg * products[q]
                k += 10
            for j in range(4):
                g = wg * place[j]
                part[90 + 4 * i + j] += g * f
                part[102 + 4 * i + j] += g
                part[114 + 4 * i + j] += g * value
                d = w * slope[i] * place[j]
                part[126 + 4 * i + j] += d * f
                part[138 + 4 * i + j] += d
        part[150] += w
        part[151] += w * f
        part[152] += w * value
        part[153] += w * f * f
        part[154] += w * f * value
        part[155] += w * value * value
        inside += 1
        gathered += 1
        if gathered == 4096:  # single precision holds short sums only
            out += part
            part[:] = 0
            gathered = 0
    out += part
    return inside
