// conifer's C++ behind a C function that loops over rows; the formats come from the compiler's command line.
#include "conifer.h"
#include "ap_fixed.h"

struct Formats : conifer::ConiferConfiguration {
    typedef THRESHOLD_T threshold_t;
    typedef THRESHOLD_T input_t;
    typedef WEIGHT_T weight_t;
    typedef SCORE_T score_t;
    static constexpr bool useAddTree = false;
};
using Model = conifer::BDT<Formats>;

extern "C" {
void *load(const char *file) { return new Model(std::string(file)); }

void scores(const void *model, const double *rows, long count, int features, double *result) {
    for (long i = 0; i < count; i++) {
        const double *row = rows + i * features;
        for (double score : static_cast<const Model *>(model)->_decision_function_double({row, row + features})) {
            *result++ = score;
        }
    }
}

void unload(void *model) { delete static_cast<Model *>(model); }
}
