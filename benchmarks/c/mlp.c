/* One training epoch of a fully connected network, as one would write it by hand in plain C.
 *
 * Compiled once for each work, with
 *   SIZES   the layer sizes, e.g. {2, 25, 25, 2}      LAYERS  how many layers there are
 *   WIDEST  the largest of the sizes                   BATCH   samples in a step
 *   LR, MOMENTUM                                       SQUARES, TANH  0 or 1
 * Weights lie row by row (inputs, outputs), so that the inner loops run over neighbours.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Inlined into `step`, where the layer's sizes are constants. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

static const int sizes[LAYERS + 1] = SIZES;

typedef struct {
    float *w, *b;   /* parameters */
    float *vw, *vb; /* velocities */
} layer;

static float act[LAYERS + 1][BATCH][WIDEST];
static float err[LAYERS + 1][BATCH][WIDEST];
static float dw[WIDEST * WIDEST], db[WIDEST];

ALWAYS_INLINE void forward(int n, int m, const layer *l, float (*restrict x)[WIDEST], float (*restrict y)[WIDEST],
                    int activated)
{
    for (int s = 0; s < BATCH; s++) {
        for (int o = 0; o < m; o++)
            y[s][o] = l->b[o];
        for (int i = 0; i < n; i++)
            for (int o = 0; o < m; o++)
                y[s][o] += x[s][i] * l->w[i * m + o];
        if (!activated)
            continue;
        for (int o = 0; o < m; o++)
            y[s][o] = TANH ? tanhf(y[s][o]) : (y[s][o] > 0 ? y[s][o] : 0);
    }
}

/* Turns the gradient at the activation's output into the one at its input. */
ALWAYS_INLINE void activation_backward(int m, float (*restrict y)[WIDEST], float (*restrict g)[WIDEST])
{
    for (int s = 0; s < BATCH; s++)
        for (int o = 0; o < m; o++)
            g[s][o] = TANH ? g[s][o] * (1 - y[s][o] * y[s][o]) : (y[s][o] > 0 ? g[s][o] : 0);
}

ALWAYS_INLINE void input_gradient(int n, int m, const layer *l, float (*restrict g)[WIDEST], float (*restrict gx)[WIDEST])
{
    for (int s = 0; s < BATCH; s++)
        for (int i = 0; i < n; i++) {
            float sum = 0;
            for (int o = 0; o < m; o++)
                sum += g[s][o] * l->w[i * m + o];
            gx[s][i] = sum;
        }
}

ALWAYS_INLINE void descend(int count, float *restrict p, float *restrict v, const float *restrict g)
{
    for (int k = 0; k < count; k++) {
        float step = g[k];
        if (MOMENTUM != 0)
            step = v[k] = (float)MOMENTUM * v[k] + g[k];
        p[k] -= (float)LR * step;
    }
}

ALWAYS_INLINE void update(int n, int m, layer *l, float (*restrict x)[WIDEST], float (*restrict g)[WIDEST])
{
    memset(dw, 0, sizeof(float) * n * m);
    memset(db, 0, sizeof(float) * m);
    for (int s = 0; s < BATCH; s++) {
        for (int i = 0; i < n; i++)
            for (int o = 0; o < m; o++)
                dw[i * m + o] += x[s][i] * g[s][o];
        for (int o = 0; o < m; o++)
            db[o] += g[s][o];
    }
    descend(n * m, l->w, l->vw, dw);
    descend(m, l->b, l->vb, db);
}

ALWAYS_INLINE float squares(int m, float (*restrict y)[WIDEST], const float *t, float (*restrict g)[WIDEST])
{
    float loss = 0;
    for (int s = 0; s < BATCH; s++)
        for (int o = 0; o < m; o++) {
            float d = y[s][o] - t[s * m + o];
            loss += d * d;
            g[s][o] = 2 * d / BATCH;
        }
    return loss / BATCH;
}

ALWAYS_INLINE float cross_entropy(int m, float (*restrict y)[WIDEST], const int64_t *label, float (*restrict g)[WIDEST])
{
    float loss = 0;
    for (int s = 0; s < BATCH; s++) {
        float top = y[s][0], sum = 0;
        for (int o = 1; o < m; o++)
            top = y[s][o] > top ? y[s][o] : top;
        for (int o = 0; o < m; o++)
            sum += g[s][o] = expf(y[s][o] - top);
        loss += logf(sum) + top - y[s][label[s]];
        for (int o = 0; o < m; o++)
            g[s][o] /= sum * BATCH;
        g[s][label[s]] -= 1.0f / BATCH;
    }
    return loss / BATCH;
}

static float step(layer *net, const float *x, const void *target)
{
    for (int s = 0; s < BATCH; s++)
        memcpy(act[0][s], x + s * sizes[0], sizeof(float) * sizes[0]);
#pragma GCC unroll 8
    for (int k = 0; k < LAYERS; k++)
        forward(sizes[k], sizes[k + 1], &net[k], act[k], act[k + 1], SQUARES || k < LAYERS - 1);
    float loss = SQUARES ? squares(sizes[LAYERS], act[LAYERS], target, err[LAYERS])
                         : cross_entropy(sizes[LAYERS], act[LAYERS], target, err[LAYERS]);
#pragma GCC unroll 8
    for (int k = LAYERS - 1; k >= 0; k--) {
        if (SQUARES || k < LAYERS - 1)
            activation_backward(sizes[k + 1], act[k + 1], err[k + 1]);
        if (k > 0)
            input_gradient(sizes[k], sizes[k + 1], &net[k], err[k + 1], err[k]);
        update(sizes[k], sizes[k + 1], &net[k], act[k], err[k + 1]);
    }
    return loss;
}

/* Runs `epochs` passes over `steps` batches, in order; returns the mean loss of all its steps. */
double train(layer *net, const float *x, const void *target, int64_t steps, int64_t epochs)
{
    double total = 0;
    const int width = SQUARES ? sizes[LAYERS] : 1;
    const int bytes = SQUARES ? sizeof(float) : sizeof(int64_t);
    for (int64_t e = 0; e < epochs; e++)
        for (int64_t k = 0; k < steps; k++)
            total += step(net, x + k * BATCH * sizes[0],
                          (const char *)target + k * BATCH * width * bytes);
    return total / (steps * epochs);
}
