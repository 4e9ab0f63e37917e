// Fusion on a GPU: the arithmetic of rows.py with one thread per output voxel.
//
// Coordinates are computed in double and reduced to a voxel and a fraction there; values, fractions
// and weights are float. The text is plain C++ but for the CUDA words, so that tests can run it on
// a CPU (luxdask.testing.cuda); it includes no header, so NVRTC needs no CUDA toolkit.

// One view of the block; `VIEW` in cuda.py has the same fields. Axes are z, y, x.
struct View {
    long long start, pitch_z, pitch_y;  // window in the buffer, voxels per plane and per row
    double to_window[3][4];             // output voxel -> window voxel
    double border[3][2];                // extent of the whole view in window voxels
    double slope[3];                    // 1 / blending width
    long long cells[4];                 // quality map: start (< 0: none) and shape
    double to_cell[3][4];               // output voxel -> cell of the quality map
};

// Fractions of a voxel below this are 0: whole-voxel shifts are copied, not interpolated.
constexpr double EXACT = 1e-6;

// Blending weight at the very border of a view, so that a lone border voxel still counts.
constexpr float SMALLEST_RAMP = 1e-3f;

__device__ inline double along(const double* row, int z, int y, int x) {
    return row[0] * z + row[1] * y + row[2] * x + row[3];
}

__device__ inline float between(float a, float b, float t) { return a + t * (b - a); }

// The voxel below a coordinate, and the fraction beyond it.
__device__ inline int split(double position, float* fraction) {
    double base = floor(position);
    double beyond = position - base;
    if (beyond > 1.0 - EXACT) {
        base += 1.0;
        beyond = 0.0;
    } else if (beyond < EXACT) {
        beyond = 0.0;
    }
    *fraction = (float)beyond;
    return (int)base;
}

// Whether a view covers an output voxel, and where the voxel lies in its window.
__device__ inline bool covers(const View& view, int z, int y, int x, double* position) {
    for (int axis = 0; axis < 3; ++axis) {
        position[axis] = along(view.to_window[axis], z, y, x);
        if (position[axis] < view.border[axis][0] - EXACT) return false;
        if (position[axis] > view.border[axis][1] + EXACT) return false;
    }
    return true;
}

// Smooth step from 0 at the border of a view to 1 at the blending width inside it.
__device__ inline float ramp(double position, const double* border, double slope) {
    float inside = (float)fmin(position - border[0], border[1] - position);
    float t = fminf(fmaxf(inside * (float)slope, SMALLEST_RAMP), 1.0f);
    return t * t * (3.0f - 2.0f * t);
}

__device__ inline float blending(const View& view, const double* position) {
    float weight = 1.0f;
    for (int axis = 0; axis < 3; ++axis)
        weight *= ramp(position[axis], view.border[axis], view.slope[axis]);
    return weight;
}

// Neighbouring cells and fraction for interpolating a quality map, clamped at its ends.
__device__ inline float cell(double position, long long n, long long* first, long long* second) {
    double inside = fmin(fmax(position, 0.0), (double)(n - 1));
    *first = (long long)inside;
    *second = *first + 1 < n ? *first + 1 : n - 1;
    return (float)(inside - (double)*first);
}

__device__ inline float sharpness(const View& view, const float* quality, int z, int y, int x) {
    long long at[3][2];
    float t[3];
    for (int axis = 0; axis < 3; ++axis)
        t[axis] = cell(
            along(view.to_cell[axis], z, y, x), view.cells[axis + 1], &at[axis][0], &at[axis][1]);
    const float* map = quality + view.cells[0];
    float value = 0.0f;
    for (int k = 0; k < 2; ++k) {
        for (int j = 0; j < 2; ++j) {
            const float* row = map + (at[0][k] * view.cells[2] + at[1][j]) * view.cells[3];
            float weight = (k ? t[0] : 1.0f - t[0]) * (j ? t[1] : 1.0f - t[1]);
            value += weight * between(row[at[2][0]], row[at[2][1]], t[2]);
        }
    }
    return value;
}

struct Linear {
    static __device__ float row(const unsigned short* p, float t) {
        return between((float)p[0], (float)p[1], t);
    }

    static __device__ float sample(
        const unsigned short* p, long long pitch_z, long long pitch_y, const float* t) {
        float near = between(row(p, t[2]), row(p + pitch_y, t[2]), t[1]);
        p += pitch_z;
        float far = between(row(p, t[2]), row(p + pitch_y, t[2]), t[1]);
        return between(near, far, t[0]);
    }
};

// Cubic convolution (Keys 1981, a = -0.5, doi:10.1109/TASSP.1981.1163711).
struct Cubic {
    static __device__ void keys(float t, float* w) {
        w[0] = ((-0.5f * t + 1.0f) * t - 0.5f) * t;
        w[1] = (1.5f * t - 2.5f) * t * t + 1.0f;
        w[2] = ((-1.5f * t + 2.0f) * t + 0.5f) * t;
        w[3] = (0.5f * t - 0.5f) * t * t;
    }

    static __device__ float sample(
        const unsigned short* p, long long pitch_z, long long pitch_y, const float* t) {
        float wz[4], wy[4], wx[4];
        keys(t[0], wz);
        keys(t[1], wy);
        keys(t[2], wx);
        p -= pitch_z + pitch_y + 1;
        float total = 0.0f;
        for (int k = 0; k < 4; ++k) {
            float plane = 0.0f;
            for (int j = 0; j < 4; ++j) {
                const unsigned short* q = p + k * pitch_z + j * pitch_y;
                plane += wy[j] * (wx[0] * (float)q[0] + wx[1] * (float)q[1]
                                  + wx[2] * (float)q[2] + wx[3] * (float)q[3]);
            }
            total += wz[k] * plane;
        }
        return total;
    }
};

template <class Interpolation>
__device__ inline float interpolate(
    const View& view, const unsigned short* pool, const double* position) {
    float t[3];
    int z = split(position[0], &t[0]), y = split(position[1], &t[1]), x = split(position[2], &t[2]);
    const unsigned short* voxel = pool + view.start + z * view.pitch_z + y * view.pitch_y + x;
    return Interpolation::sample(voxel, view.pitch_z, view.pitch_y, t);
}

// Weighted mean of all views at one output voxel; 0 where there is none, and where there is one
// its value, whatever its weight.
template <class Interpolation>
__device__ inline float mean(
    const unsigned short* pool, const View* views, int count, const float* quality, int blend,
    int z, int y, int x) {
    float total = 0.0f, weights = 0.0f, value = 0.0f;
    int covered = 0;
    for (int v = 0; v < count; ++v) {
        const View& view = views[v];
        double position[3];
        if (!covers(view, z, y, x, position)) continue;
        float weight = blend ? blending(view, position) : 1.0f;
        if (view.cells[0] >= 0) weight *= sharpness(view, quality, z, y, x);
        value = interpolate<Interpolation>(view, pool, position);
        total += weight * value;
        weights += weight;
        ++covered;
    }
    return covered > 1 ? total / fmaxf(weights, 1e-30f) : value;
}

// A grid has at most 65,535 planes: a block with more is done in several turns.
template <class Interpolation>
__device__ inline void fuse(
    const unsigned short* pool, const View* views, int count, const float* quality, int blend,
    float scale, int nz, int ny, int nx, unsigned short* out) {
    int y = blockIdx.y * blockDim.y + threadIdx.y, x = blockIdx.x * blockDim.x + threadIdx.x;
    if (y >= ny || x >= nx) return;
    for (int z = blockIdx.z; z < nz; z += gridDim.z) {
        float value = mean<Interpolation>(pool, views, count, quality, blend, z, y, x) * scale;
        value = fminf(fmaxf(value + 0.5f, 0.0f), 65535.0f);
        out[((long long)z * ny + y) * nx + x] = (unsigned short)value;
    }
}

extern "C" __global__ void fuse_linear(
    const unsigned short* pool, const View* views, int count, const float* quality, int blend,
    float scale, int nz, int ny, int nx, unsigned short* out) {
    fuse<Linear>(pool, views, count, quality, blend, scale, nz, ny, nx, out);
}

extern "C" __global__ void fuse_cubic(
    const unsigned short* pool, const View* views, int count, const float* quality, int blend,
    float scale, int nz, int ny, int nx, unsigned short* out) {
    fuse<Cubic>(pool, views, count, quality, blend, scale, nz, ny, nx, out);
}
