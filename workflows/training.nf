// What tells one training from another.

include { shippedRecipes } from './parameters.nf'

// In the work folder, which containers and cluster nodes see too; one folder for each training, and so another one
// (and another training) when a shipped recipe was edited.
def checkpointFolder(store, weights, training) {
    return "${workflow.workDir}/checkpoints/${[store, weights, training, shippedRecipes()].toString().md5()}"
}
